"""`generate_metadata`: makes a dataset of the Parquet files of a folder. Only its metadata is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from tfpetastorm.errors import DatasetError, Place, SchemaError, SchemaMismatchError, describe
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.petastorm_emit import can_express
from tfpetastorm.schema.reconcile import reconcile
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.footers import Footer, Progress, parse_footer, read_footer, read_footers
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.storage.listing import Listing, refuse_unfinished
from tfpetastorm.storage.metadata import (
    FILES_KEY,
    PETASTORM_FILES_KEY,
    PETASTORM_UNISCHEMA_KEY,
    UNISCHEMA_KEY,
    CommonMetadata,
    ListedFile,
    dataset_pairs,
    parse_pairs,
    petastorm_files_json,
)
from tfpetastorm.storage.unify import unify
from tfpetastorm.stores.atomic import replace_file
from tfpetastorm.stores.filesystem import Url, join
from tfpetastorm.upkeep.folder import SUMMARY, SUMMARY_CHECKSUM, Folder, look

#: petastorm's index of row groups, by their numbers in the list of all files.
INDEX_KEY = b"dataset-toolkit.rowgroups_index.v1"
_KEYS = (UNISCHEMA_KEY, FILES_KEY, PETASTORM_UNISCHEMA_KEY, PETASTORM_FILES_KEY)


@dataclass(frozen=True)
class Generated:
    """What was written. origin: where the schema is from: "given", "stored" (our JSON), "petastorm" or "inferred".

    petastorm: whether petastorm can read the dataset by it.
    """

    schema: Unischema
    origin: str
    files: int
    row_groups: int
    rows: int
    petastorm: bool


def generate_metadata(
    url: Url,
    schema: Unischema | None = None,
    *,
    adopt: bool = False,
    petastorm_compatible: bool = True,
    summary: bool = False,
    unmapped: Literal["error", "omit"] = "error",
    codecs: Iterable[type[Codec]] = (),
    filesystem: Any = None,
    progress: Progress | None = None,
) -> Generated:
    """Write the `_common_metadata` of a folder of Parquet files: schema, list of files, their rows and row groups.

    schema: for the files, which are held against it; None for the one that is stored, ours or petastorm's (read
    symbolically, nothing is run), or else the one that the columns amount to. adopt: also list files that a list of
    ours leaves out; without such a list, all files in the folder are data. petastorm_compatible: also petastorm's
    keys, where its form can express the schema. summary: also write a `_metadata` with all row groups. unmapped: as
    for `open_dataset`. Other keys are kept, and no data file is touched.

    Raises `SchemaMismatchError` naming a file that does not have the schema, `SchemaError` for a column that no field
    can hold, `DamagedDataError` naming a file that can't be read, `DatasetError` for metadata that is damaged where
    its schema is needed or where a writer never finished.
    """
    folder = look(url, filesystem)
    if folder.damage is not None and schema is None:
        raise DatasetError(
            describe(
                f"can't read the dataset's metadata: {folder.damage}",
                Place(file=folder.metadata_path),
                remedy="Give the schema of the files.",
            )
        )
    old = parse_pairs(folder.metadata_path, folder.pairs, folder.columns)
    refuse_unfinished(old)
    listed = FILES_KEY in folder.pairs and old.files is not None and not adopt
    names = sorted(old.files or () if listed else folder.data)
    if not names and not listed:
        raise DatasetError(f"{folder.url} holds no Parquet files. Check the path.")
    files = [folder.data.get(name) or DataFile(join(folder.root, name), name, -1, -1, {}) for name in names]
    read = read_footers(folder.filesystem, files, progress=progress)
    footers = [footer for footer in read if footer is not None]
    codecs = (*codecs, *{type(field.codec) for field in schema or () if field.codec is not None})
    origin, schema = _schema(folder, schema, files, footers, codecs, unmapped)
    counts = {
        file.name: ListedFile(footer.metadata.num_row_groups, footer.metadata.num_rows)
        for file, footer in zip(files, footers, strict=True)
    }
    columns = folder.columns if folder.columns is not None else _columns(files, footers)
    petastorm = write(folder, columns, schema, counts, verbatim=origin == "petastorm", petastorm=petastorm_compatible)
    if summary:
        _write_summary(folder, files, footers)
    elif SUMMARY in folder.others and not summary_matches(folder, counts):
        drop_summary(folder)
    row_groups, rows = (sum(getattr(one, name) or 0 for one in counts.values()) for name in ("row_groups", "rows"))
    return Generated(schema, origin, len(files), row_groups, rows, petastorm)


def write(
    folder: Folder,
    columns: pa.Schema,
    schema: Unischema,
    files: Mapping[str, ListedFile],
    *,
    verbatim: bool,
    petastorm: bool = True,
) -> bool:
    """Replace the metadata of `folder`; returns whether it has petastorm's keys.

    verbatim: keep petastorm's pickle as it is, since the schema is read from it.
    """
    pairs = {key: value for key, value in folder.pairs.items() if key not in _KEYS}
    if INDEX_KEY in pairs and _names(folder) != set(files):
        del pairs[INDEX_KEY]  # its numbers count the files of before
    verbatim = verbatim and petastorm
    petastorm = petastorm and not can_express(schema)
    pairs |= dataset_pairs(schema, files, petastorm=petastorm)
    if verbatim:
        pairs[PETASTORM_UNISCHEMA_KEY] = folder.pairs[PETASTORM_UNISCHEMA_KEY]
        pairs[PETASTORM_FILES_KEY] = petastorm_files_json(files)
    folder.replace_metadata(columns, pairs)
    return petastorm or verbatim


def summary_matches(folder: Folder, files: Mapping[str, ListedFile]) -> bool:
    """Whether `_metadata` lists the row groups that the files have."""
    try:
        metadata = read_footer(folder.filesystem, join(folder.root, SUMMARY)).metadata
        paths = [metadata.row_group(i).column(0).file_path for i in range(metadata.num_row_groups)]
    except (OSError, ValueError, pa.ArrowException):
        return False
    return {name: paths.count(name) for name in {*files, *paths}} == {
        name: file.row_groups for name, file in files.items()
    }


def drop_summary(folder: Folder) -> None:
    """Delete `_metadata` and Hadoop's checksum of it."""
    folder.delete(SUMMARY)
    folder.delete(SUMMARY_CHECKSUM)


def _names(folder: Folder) -> set[str]:
    try:
        return set(parse_pairs(folder.metadata_path, folder.pairs).files or ())
    except DatasetError:
        return set()


def _schema(
    folder: Folder,
    schema: Unischema | None,
    files: Sequence[DataFile],
    footers: Sequence[Footer],
    codecs: tuple[type[Codec], ...],
    unmapped: Literal["error", "omit"],
) -> tuple[str, Unischema]:
    """The schema to store, held against every file, and its origin."""
    pairs: Mapping[bytes, bytes] = folder.pairs
    origin = "stored" if UNISCHEMA_KEY in pairs else "petastorm" if PETASTORM_UNISCHEMA_KEY in pairs else "inferred"
    if schema is not None:
        origin, pairs = "given", {UNISCHEMA_KEY: schema.to_json().encode()}
    metadata = (CommonMetadata(folder.metadata_path, pairs),) if origin != "inferred" else ()
    unified = unify(Listing(folder.root, tuple(files), metadata=metadata), files, footers, codecs, unmapped)
    if schema is not None and footers:
        found = {name for arrow in unified.arrow_schemas for name in arrow.names} | unified.partition_fields.keys()
        for field in schema:
            if field.name not in found:
                place = Place(file=folder.url, field=field.name)
                raise SchemaMismatchError(describe("no file has a field of the schema", place))
    nested = [name for name, path in unified.column_paths.items() if len(path) > 1]
    if nested and unmapped == "error":
        raise SchemaError(
            describe(
                f"{', '.join(nested)} are members of structs, which only plain Parquet can have as fields",
                Place(file=folder.url),
                remedy="Leave them out (--drop-unmapped), or have `tfpetastorm copy` make columns of them.",
            )
        )
    kept = [field for field in unified.schema if field.name not in nested]
    return origin, unified.schema if not nested else unified.schema.create_schema_view(kept)


def _columns(files: Sequence[DataFile], footers: Sequence[Footer]) -> pa.Schema:
    return reconcile(
        {
            file.path: footer.metadata.schema.to_arrow_schema().remove_metadata()
            for file, footer in zip(files, footers, strict=True)
        }
    )


def _write_summary(folder: Folder, files: Sequence[DataFile], footers: Sequence[Footer]) -> None:
    """A `_metadata` with the row groups of all files, as Parquet's own tools make it."""
    whole = None
    for file, footer in zip(files, footers, strict=True):
        metadata = parse_footer(footer.raw).metadata  # one of our own: its paths are about to change
        metadata.set_file_path(file.name)
        if whole is None:
            whole = metadata
            continue
        try:
            whole.append_row_groups(metadata)
        except (RuntimeError, pa.ArrowException) as error:
            raise DatasetError(
                describe(f"files differ in their columns, so there can be no {SUMMARY}: {error}", Place(file=file.path))
            ) from None
    if whole is not None:
        sink = pa.BufferOutputStream()
        whole.write_metadata_file(sink)
        folder.delete(SUMMARY_CHECKSUM)
        replace_file(folder.filesystem, join(folder.root, SUMMARY), sink.getvalue().to_pybytes())

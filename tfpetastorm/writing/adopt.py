"""Making the Parquet files that another program wrote a dataset with a Unischema: only its metadata is written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, OptionError, Place, SchemaMismatchError, describe
from tfpetastorm.schema.petastorm_emit import can_express
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.footers import Footer, read_footers
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.storage.listing import data_file, is_data_name, parquet_names
from tfpetastorm.storage.metadata import (
    COMMON_METADATA,
    FILES_KEY,
    PETASTORM_FILES_KEY,
    PETASTORM_UNISCHEMA_KEY,
    UNISCHEMA_KEY,
    ListedFile,
    common_metadata_bytes,
    dataset_pairs,
    read_common_metadata,
)
from tfpetastorm.storage.partitions import partition_keys
from tfpetastorm.storage.sidecar import SIDECAR_NAME
from tfpetastorm.storage.unify import check_file
from tfpetastorm.stores.atomic import replace_file
from tfpetastorm.stores.filesystem import Location, join
from tfpetastorm.stores.patience import TROUBLE
from tfpetastorm.writing.intent import exclusive

#: Spark's own schema, which it finds in `_common_metadata` too.
SPARK_KEY = b"org.apache.spark.sql.parquet.row.metadata"
#: Petastorm's row-group index speaks of the row groups that were.
_INDEX_KEY = b"dataset-toolkit.rowgroups_index.v1"
#: Checksums of the old metadata would make Hadoop refuse the new.
_STALE = ("._common_metadata.crc", SIDECAR_NAME)


@dataclass(frozen=True)
class Adopted:
    """What a dataset's new metadata lists. largest: rows of its largest row group."""

    files: int
    row_groups: int
    rows: int
    largest: int


def adopt_files(
    location: Location,
    schema: Unischema,
    *,
    keep_summary: bool = False,
    empty: bool = False,
    not_in_folders: Mapping[str, str] = MappingProxyType({}),
) -> Adopted:
    """Make all Parquet files in a folder a dataset of `schema`, by what their footers say.

    The new `_common_metadata` replaces an old one in one step, last; other keys that the old one has are kept, an index
    of row groups is not. keep_summary: False deletes a `_metadata` of before, which the files have outgrown. empty: a
    folder without files is a dataset of no rows. not_in_folders: fields whose values names of folders do not tell
    rightly, each with the reason and what to do.

    Raises DatasetError if there are no Parquet files, DamagedDataError if one can't be read, and SchemaMismatchError if
    one does not hold the schema's fields, or lies in other folders than the others; the old metadata is then still
    there.
    """
    filesystem, root = location.filesystem, location.paths[0]
    files = _files(location)
    footers = [footer for footer in read_footers(filesystem, files) if footer is not None]
    arrow = [footer.metadata.schema.to_arrow_schema() for footer in footers]
    if not files and not empty:
        raise DatasetError(f"{location.url} holds no Parquet files, so there is nothing to describe.")
    partitions = partition_keys(files)
    for name in partitions:
        if name in not_in_folders:
            raise SchemaMismatchError(describe(not_in_folders[name], Place(file=files[0].name, field=name)))
    seen: list[pa.Schema] = []
    for file, columns in zip(files, arrow, strict=True):
        if columns not in seen:
            check_file(schema, columns, file, partitions)
            seen.append(columns)
    stored = arrow[0].remove_metadata() if arrow else schema.as_arrow_schema()
    unplaced = [field.name for field in schema if field.name not in partitions and field.name not in stored.names]
    if unplaced and not all(schema.fields[name].nullable for name in unplaced):
        raise SchemaMismatchError(f"{files[0].path} has no columns for {unplaced}.")
    pairs = _kept_pairs(location, footers[0] if footers else None)
    listed = {
        file.name: ListedFile(footer.metadata.num_row_groups, footer.metadata.num_rows)
        for file, footer in zip(files, footers, strict=True)
    }
    pairs |= dataset_pairs(schema, listed, petastorm=not can_express(schema))
    columns = pa.schema([column.remove_metadata() for column in stored])
    for name in (*_STALE, *(() if keep_summary else ("_metadata", "._metadata.crc"))):
        # Absent, mostly.
        with contextlib.suppress(*TROUBLE):
            filesystem.delete_file(join(root, name))
    replace_file(filesystem, join(root, COMMON_METADATA), common_metadata_bytes(columns, pairs))
    return _adopted(footers)


def _adopted(footers: Sequence[Footer]) -> Adopted:
    sizes = [
        footer.metadata.row_group(number).num_rows
        for footer in footers
        for number in range(footer.metadata.num_row_groups)
    ]
    return Adopted(len(footers), len(sizes), sum(sizes), max(sizes, default=0))


def _files(location: Location) -> list[DataFile]:
    filesystem, root = location.filesystem, location.paths[0]
    try:
        found = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"can't list {location.url}: {error}") from None
    by_name = {
        info.path[len(root) :].lstrip("/"): info for info in found if info.type == pafs.FileType.File and info.size != 0
    }
    names = parquet_names([name for name in by_name if is_data_name(name)])
    return [data_file(by_name[name], name) for name in sorted(names)]


def _kept_pairs(location: Location, first: Footer | None) -> dict[bytes, bytes]:
    path = join(location.paths[0], COMMON_METADATA)
    kept: dict[bytes, bytes] = {}
    if location.filesystem.get_file_info([path])[0].type == pafs.FileType.File:
        kept = dict(read_common_metadata(location.filesystem, path).pairs)
    for key in (_INDEX_KEY, PETASTORM_UNISCHEMA_KEY, PETASTORM_FILES_KEY):
        kept.pop(key, None)
    spark = None if first is None else (first.metadata.metadata or {}).get(SPARK_KEY)
    return kept | ({SPARK_KEY: spark} if spark is not None else {})


def add_metadata(location: Location, pairs: Mapping[bytes, bytes]) -> None:
    """Add key-value pairs to the metadata of the dataset in a folder, replaced in one step; others stay.

    Without metadata there it is made, with the columns of the first file. Raises OptionError for keys that say which
    rows or fields there are, DatasetError if there are no Parquet files.
    """
    owned = {UNISCHEMA_KEY, FILES_KEY, PETASTORM_UNISCHEMA_KEY, PETASTORM_FILES_KEY} & pairs.keys()
    if owned:
        raise OptionError(f"{sorted(owned)[0].decode()} says what the dataset is, and is written with its files only.")
    with exclusive(location.filesystem, location.paths[0]) as sure:
        _add_metadata(location, pairs, sure)


def _add_metadata(location: Location, pairs: Mapping[bytes, bytes], sure: Callable[[], None]) -> None:
    path = join(location.paths[0], COMMON_METADATA)
    if location.filesystem.get_file_info([path])[0].type == pafs.FileType.File:
        old = read_common_metadata(location.filesystem, path)
        kept, columns = dict(old.pairs), old.columns
    else:
        files = _files(location)
        if not files:
            raise DatasetError(f"{location.url} holds no Parquet files, so it has no metadata.")
        first = read_footers(location.filesystem, files[:1])[0]
        assert first is not None
        kept, columns = {}, first.metadata.schema.to_arrow_schema().remove_metadata()
    with contextlib.suppress(*TROUBLE):
        location.filesystem.delete_file(join(location.paths[0], "._common_metadata.crc"))
    sure()
    replace_file(location.filesystem, path, common_metadata_bytes(columns, {**kept, **pairs}))

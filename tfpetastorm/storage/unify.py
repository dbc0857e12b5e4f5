"""One schema for all files of a dataset: from its metadata, checked against every file, or inferred from the files."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from tfpetastorm.errors import DatasetError, Place, SchemaMismatchError, TfpetastormError, describe
from tfpetastorm.redaction import redact
from tfpetastorm.schema.arrow import check_stored, infer_schema
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.petastorm_format import read_pickled_schema
from tfpetastorm.schema.reconcile import reconcile
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.footers import Footer
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.storage.listing import Listing
from tfpetastorm.storage.metadata import PETASTORM_UNISCHEMA_KEY, UNISCHEMA_KEY, CommonMetadata
from tfpetastorm.storage.partitions import infer_partition_field, partition_keys, partition_values

Unmapped = Literal["error", "omit"]


@dataclass(frozen=True)
class Unified:
    """What the files of a dataset have in common. See `StoredDataset` for the parts."""

    kind: str
    schema: Unischema
    arrow_schemas: tuple[pa.Schema, ...]
    column_paths: Mapping[str, tuple[str, ...]]
    partition_fields: Mapping[str, tuple[Any, ...]]
    problems: tuple[str, ...] = ()


def unify(
    listing: Listing,
    files: Sequence[DataFile],
    footers: Sequence[Footer],
    codecs: tuple[type[Codec], ...],
    unmapped: Unmapped,
) -> Unified:
    """The schema of `files`. Raises `SchemaMismatchError` naming the file, or both files, that can't be reconciled."""
    distinct, index = _distinct_schemas(footers)
    arrow_schemas = tuple(distinct[i] for i in index)
    stored = _stored_schema(listing.metadata, codecs)
    if stored is None:
        return _inferred(listing, files, distinct, index, arrow_schemas, unmapped)
    kind, schema = stored
    partitions = _partitions_of(schema, files, arrow_schemas)
    for i, arrow in enumerate(distinct):
        check_file(schema, arrow, files[index.index(i)], partitions)
    return Unified(
        kind,
        schema,
        arrow_schemas,
        {field.name: (field.name,) for field in schema if field.name not in partitions},
        {name: partition_values(schema.fields[name], files) for name in partitions},
    )


def _distinct_schemas(footers: Sequence[Footer]) -> tuple[list[pa.Schema], list[int]]:
    """The different Arrow schemas among files, and which of them each file has.

    Thousands of files mostly share one, and comparing is far cheaper than converting.
    """
    seen: list[tuple[Any, bytes]] = []
    distinct: list[pa.Schema] = []
    index: list[int] = []
    for footer in footers:
        schema = footer.metadata.schema
        arrow = (footer.metadata.metadata or {}).get(b"ARROW:schema", b"")
        for i, (other, other_arrow) in enumerate(seen):
            if arrow == other_arrow and schema.equals(other):
                index.append(i)
                break
        else:
            seen.append((schema, arrow))
            distinct.append(schema.to_arrow_schema())
            index.append(len(distinct) - 1)
    return distinct, index


def _stored_schema(metadata: Sequence[CommonMetadata], codecs: tuple[type[Codec], ...]) -> tuple[str, Unischema] | None:
    found: list[tuple[CommonMetadata, Unischema]] = []
    for one in metadata:
        if one.kind == "parquet":
            continue
        try:
            if one.kind == "tfpetastorm":
                schema = Unischema.from_json(one.pairs[UNISCHEMA_KEY].decode(), codecs)
            else:
                schema = read_pickled_schema(one.pairs[PETASTORM_UNISCHEMA_KEY], codecs)
        except TfpetastormError as error:
            raise type(error)(f"{error} (file {one.path})") from None
        except UnicodeDecodeError as error:
            raise DatasetError(f"the schema in {one.path} is damaged: {error}") from None
        found.append((one, schema))
    if not found:
        return None
    first, schema = found[0]
    for other, other_schema in found[1:]:
        if tuple(other_schema) != tuple(schema):
            raise SchemaMismatchError(f"the datasets of {first.path} and {other.path} have different schemas.")
    if len(found) < len(metadata):
        plain = next(one for one in metadata if one.kind == "parquet")
        raise SchemaMismatchError(f"{first.path} holds a Unischema, but {plain.path} does not.")
    return first.kind, schema


def _partitions_of(
    schema: Unischema, files: Sequence[DataFile], arrow_schemas: tuple[pa.Schema, ...]
) -> tuple[str, ...]:
    # A column in all files counts more than the names of folders, which are text at best.
    names = [name for name in partition_keys(files) if name in schema]
    return tuple(name for name in names if not all(name in arrow.names for arrow in arrow_schemas))


def check_file(schema: Unischema, arrow: pa.Schema, file: DataFile, partitions: Sequence[str]) -> None:
    """Raise `SchemaMismatchError` if a file can't serve the schema's fields."""
    for field in schema:
        if field.name not in arrow.names and field.name not in partitions and not field.nullable:
            raise SchemaMismatchError(
                describe(
                    "a file lacks a field that is not nullable",
                    Place(field=field.name, file=file.path),
                    expected=field,
                    found="no such column",
                )
            )
    check_stored(schema, arrow, file.path)


def _schema_name(root: str) -> str:
    """The name of the folder that files lie in. Of a URL never its host, nor the user and the query: it is stored."""
    if "://" in root:
        root = redact(root).partition("://")[2].partition("?")[0].partition("/")[2]
    return posixpath.basename(root) or "Parquet"


def _inferred(
    listing: Listing,
    files: Sequence[DataFile],
    distinct: list[pa.Schema],
    index: list[int],
    arrow_schemas: tuple[pa.Schema, ...],
    unmapped: Unmapped,
) -> Unified:
    """The schema that plain Parquet files amount to, with their partition folders."""
    common = reconcile({files[index.index(i)].path: arrow for i, arrow in enumerate(distinct)})
    names = [name for name in partition_keys(files) if not all(name in arrow.names for arrow in distinct)]
    columns = pa.schema([column for column in common if column.name not in names])
    found = infer_schema(columns, _schema_name(listing.root), unmapped)
    partitions = [infer_partition_field(name, files) for name in names]
    return Unified(
        "parquet",
        Unischema.rebuilt(found.schema.schema_name, [*found.schema, *partitions]),
        arrow_schemas,
        dict(found.paths),
        {field.name: partition_values(field, files) for field in partitions},
        tuple(f"column {name} is left out: {reason}" for name, reason in found.omitted.items()),
    )

"""What `tfpetastorm info` tells of a dataset, from its footers and metadata alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfpetastorm.errors import DatasetError
from tfpetastorm.schema.codecs import codec_to_json
from tfpetastorm.schema.dtypes import dtype_name
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.petastorm_format import can_express
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.indexers import FieldNotNullIndexer
from tfpetastorm.storage.metadata import COMMON_METADATA, PETASTORM_UNISCHEMA_KEY, read_common_metadata
from tfpetastorm.storage.row_group_index import find_indexes
from tfpetastorm.stores.filesystem import join


@dataclass(frozen=True)
class Spread:
    """The smallest, middle and largest of some numbers, and their sum."""

    minimum: int
    median: int
    maximum: int
    total: int

    @classmethod
    def of(cls, numbers: Sequence[int] | np.ndarray[Any, Any]) -> Spread:
        """Zeros for no numbers."""
        array = np.asarray(numbers, np.int64)
        if not len(array):
            return cls(0, 0, 0, 0)
        return cls(int(array.min()), int(np.median(array)), int(array.max()), int(array.sum()))


@dataclass
class ColumnFacts:
    """One field's column chunks, summed over the dataset. nulls: None where some footer does not tell."""

    name: str
    compressed_bytes: int = 0
    uncompressed_bytes: int = 0
    encodings: tuple[str, ...] = ()
    compression: tuple[str, ...] = ()
    nulls: int | None = 0


@dataclass(frozen=True)
class DatasetFacts:
    """Everything that `info` shows. row_group_bytes are uncompressed; file_bytes as stored, -1 where unknown. indexes:
    those of row groups, in words."""

    url: str
    kind: str
    schema_name: str
    rows: int
    row_group_rows: Spread
    row_group_bytes: Spread
    row_groups: int
    files: int
    file_bytes: Spread
    compressed_bytes: int
    uncompressed_bytes: int
    compression: tuple[str, ...]
    written_by: tuple[str, ...]
    partition_fields: tuple[str, ...]
    indexes: tuple[str, ...]
    petastorm_reads_it: bool
    petastorm_reasons: tuple[str, ...]
    problems: tuple[str, ...]
    fields: tuple[UnischemaField, ...]
    columns: dict[str, ColumnFacts]

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON values."""
        plain = {name: value for name, value in vars(self).items() if name not in ("fields", "columns")}
        for name, value in plain.items():
            plain[name] = asdict(value) if isinstance(value, Spread) else value
        plain["fields"] = [
            {
                "name": field.name,
                "dtype": dtype_name(field.numpy_dtype),
                "shape": list(field.shape),
                "codec": codec_to_json(field.codec),
                "nullable": field.nullable,
                "in_folder_names": field.name in self.partition_fields,
                **{key: value for key, value in asdict(self.columns[field.name]).items() if key != "name"},
            }
            for field in self.fields
        ]
        return plain


def dataset_facts(stored: StoredDataset, progress: Callable[[int, int], None] | None = None) -> DatasetFacts:
    """Reads no rows. progress: called with the number of files looked at and of all."""
    columns = _columns(stored, progress)
    readable, reasons = _petastorm(stored)
    indexes, stale = _indexes(stored)
    inventory = stored.inventory
    metadata = [stored.file_metadata(i) for i in range(len(stored.files))]
    return DatasetFacts(
        url=stored.url,
        kind=stored.kind,
        schema_name=stored.schema.schema_name,
        rows=stored.num_rows,
        row_group_rows=Spread.of(inventory.row_group_rows),
        row_group_bytes=Spread.of(inventory.row_group_bytes),
        row_groups=len(stored.row_groups),
        files=len(stored.files),
        file_bytes=Spread.of([file.size for file in stored.files]),
        compressed_bytes=sum(column.compressed_bytes for column in columns.values()),
        uncompressed_bytes=sum(column.uncompressed_bytes for column in columns.values()),
        compression=_union(column.compression for column in columns.values()),
        written_by=tuple(sorted({str(footer.created_by) for footer in metadata if footer.created_by})),
        partition_fields=tuple(stored.partition_fields),
        indexes=indexes,
        petastorm_reads_it=readable,
        petastorm_reasons=reasons,
        problems=(*stored.metadata_problems, *stale),
        fields=tuple(stored.schema),
        columns=columns,
    )


def _columns(stored: StoredDataset, progress: Callable[[int, int], None] | None) -> dict[str, ColumnFacts]:
    facts = {name: ColumnFacts(name) for name in stored.schema.fields}
    # A list's leaf is `a.list.element`, a struct's `a.b`: every path that starts with a field's belongs to it.
    # By text, as a column may be named `a.b` itself.
    owners = {".".join(path): name for name, path in stored.column_paths.items()}
    for index in range(len(stored.files)):
        footer = stored.file_metadata(index)
        schema = footer.schema
        flat = [schema.column(i).max_repetition_level == 0 for i in range(len(schema))]
        for ordinal in range(footer.num_row_groups):
            group = footer.row_group(ordinal)
            met = set(stored.partition_fields)
            for i in range(group.num_columns):
                chunk = group.column(i)
                parts = chunk.path_in_schema.split(".")
                tops = [".".join(parts[:k]) for k in range(len(parts), 0, -1)]
                name = next((owners[top] for top in tops if top in owners), None)
                if name is None:
                    continue  # left out on request: no field can hold it
                met.add(name)
                column = facts[name]
                column.compressed_bytes += chunk.total_compressed_size
                column.uncompressed_bytes += chunk.total_uncompressed_size
                column.encodings = _union([column.encodings, map(str, chunk.encodings)])
                column.compression = _union([column.compression, [str(chunk.compression)]])
                nulls = chunk.statistics.null_count if flat[i] and _counts_nulls(chunk) else None
                column.nulls = None if nulls is None or column.nulls is None else column.nulls + nulls
            for name in facts.keys() - met:
                # A column added later: older files hold nulls, so to speak.
                column = facts[name]
                column.nulls = None if column.nulls is None else column.nulls + group.num_rows
        if progress is not None:
            progress(index + 1, len(stored.files))
    for name, values in stored.partition_fields.items():
        rows = [stored.file_metadata(i).num_rows for i in range(len(stored.files))]
        facts[name].nulls = sum(count for count, value in zip(rows, values, strict=True) if value is None)
    return facts


def _counts_nulls(chunk: Any) -> bool:
    return bool(chunk.is_stats_set and chunk.statistics is not None and chunk.statistics.has_null_count)


def _union(groups: Any) -> tuple[str, ...]:
    return tuple(sorted({item for group in groups for item in group}))


def _indexes(stored: StoredDataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The row-group indexes, and what is wrong with them."""
    try:
        indexes = find_indexes(stored)
    except (DatasetError, OSError) as error:
        return (), (str(error),)
    told = []
    for name, index in indexes.items():
        count = "not null" if isinstance(index, FieldNotNullIndexer) else f"{len(index.indexed_values):,} values"
        told.append(f"{name} ({', '.join(index.column_names)}: {count})")
    return tuple(told), ()


def _petastorm(stored: StoredDataset) -> tuple[bool, tuple[str, ...]]:
    """Whether petastorm 0.13.1 could read the dataset with its Unischema, and why not."""
    if stored.kind == "petastorm":
        return True, ()
    if stored.kind == "parquet":
        return False, ("it has no Unischema; petastorm's make_batch_reader may read it as plain Parquet",)
    reasons = tuple(can_express(stored.schema))
    if reasons:
        return False, reasons
    try:
        pairs = read_common_metadata(stored.filesystem, join(stored.root, COMMON_METADATA)).pairs
    except DatasetError:
        pairs = {}
    if PETASTORM_UNISCHEMA_KEY not in pairs:
        return False, ("it was written without petastorm's metadata, though its schema could be expressed there",)
    return True, ()

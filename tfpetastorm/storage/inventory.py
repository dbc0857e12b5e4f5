"""Which files a dataset has and which row groups are in them, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tfpetastorm.redaction import redact
from tfpetastorm.schema.columns import Array


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a dataset.

    path: the path as its filesystem knows it. name: relative to the dataset's root, "/" between folders; of a URL
    without its query.
    size: bytes. mtime_ns: when last modified, nanoseconds since 1970, or -1 where the store can't tell.
    partition: the hive partition values its folders name (`key=value`), unquoted; None for hive's null.
    """

    path: str
    name: str
    size: int
    mtime_ns: int
    partition: Mapping[str, str | None] = field(default_factory=dict)

    def __repr__(self) -> str:
        # Web servers' filesystems know a file by its whole URL.
        facts = f"size={self.size}, mtime_ns={self.mtime_ns}, partition={dict(self.partition)!r}"
        return f"DataFile(path={redact(self.path)!r}, name={self.name!r}, {facts})"


@dataclass(frozen=True, eq=False)
class Inventory:
    """All row groups of a dataset, in order: files sorted by name, row groups as in the file.

    row_group_file: int32 `[n]`, index into `files`. row_group_ordinal: int32 `[n]`, index in its file.
    row_group_rows: int64 `[n]`. row_group_bytes: int64 `[n]`, uncompressed bytes of all columns.
    """

    files: tuple[DataFile, ...]
    row_group_file: Array
    row_group_ordinal: Array
    row_group_rows: Array
    row_group_bytes: Array

    @property
    def num_rows(self) -> int:
        """Rows of all row groups."""
        return int(self.row_group_rows.sum())

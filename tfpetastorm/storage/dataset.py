"""A dataset that was opened: everything its footers and metadata tell, and no rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from tfpetastorm.errors import OptionError
from tfpetastorm.redaction import redact
from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.footers import Footer
from tfpetastorm.storage.inventory import DataFile, Inventory
from tfpetastorm.storage.sidecar import load_sidecar, store_sidecar
from tfpetastorm.storage.statistics import Statistics, column_statistics

#: A sidecar is made without being asked for only where it saves noticeable work.
SIDECAR_MIN_FILES = 64
SIDECAR_MIN_ROWS = 1_000_000


@dataclass(frozen=True)
class RowGroup:
    """One row group.

    file: name of its file, relative to the dataset's root. file_index: index in `StoredDataset.files`. ordinal: index
    in its file. rows: how many. bytes: uncompressed, of all columns.
    """

    file: str
    file_index: int
    ordinal: int
    rows: int
    bytes: int
    _dataset: StoredDataset = field(repr=False, compare=False)

    def statistics(self, name: str) -> Statistics | None:
        """What the footer tells of the field `name`; None for fields that are lists. Raises `OptionError` if unknown.

        For a field stored in folder names, minimum and maximum are its value.
        """
        return self._dataset.field_statistics(self.file_index, self.ordinal, name)


class RowGroups(Sequence[RowGroup]):
    """All row groups in order: files sorted by name, then as in the file."""

    def __init__(self, dataset: StoredDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset.inventory.row_group_rows)

    @overload
    def __getitem__(self, index: int) -> RowGroup: ...
    @overload
    def __getitem__(self, index: slice) -> list[RowGroup]: ...
    def __getitem__(self, index: int | slice) -> RowGroup | list[RowGroup]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        inventory = self._dataset.inventory
        file = int(inventory.row_group_file[index])
        return RowGroup(
            inventory.files[file].name,
            file,
            int(inventory.row_group_ordinal[index]),
            int(inventory.row_group_rows[index]),
            int(inventory.row_group_bytes[index]),
            self._dataset,
        )

    def __iter__(self) -> Iterator[RowGroup]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self)} row groups, {self._dataset.num_rows} rows>"


@dataclass(frozen=True, eq=False)
class StoredDataset:
    """What is stored at a URL, as of when it was opened. See `open_dataset`.

    url: what was opened, without credentials. filesystem, root: where it lies. kind: "tfpetastorm", "petastorm" or
    "parquet". schema: all fields, those stored in folder names included. inventory: files and row groups as arrays.
    footers: of each file. column_paths: field to the path of struct members that is its column, `("a",)` or
    `("a", "b")`; fields stored in folder names are not in it. partition_fields: those fields, each with its value
    (str, int, …, or None) per file. metadata_problems: what didn't keep the dataset from opening, in words.
    """

    url: str
    filesystem: pafs.FileSystem
    root: str
    kind: str
    schema: Unischema
    inventory: Inventory
    footers: tuple[Footer, ...] = field(repr=False)
    arrow_schemas: tuple[pa.Schema, ...] = field(repr=False)
    column_paths: Mapping[str, tuple[str, ...]] = field(repr=False)
    partition_fields: Mapping[str, tuple[Any, ...]] = field(repr=False)
    metadata_problems: tuple[str, ...] = ()
    sidecar: str = "auto"

    def __repr__(self) -> str:
        # Web servers' filesystems know a dataset by a URL, with all that is in it.
        facts = f"kind={self.kind!r}, schema={self.schema!r}, inventory={self.inventory!r}"
        problems = f"metadata_problems={self.metadata_problems!r}, sidecar={self.sidecar!r}"
        where = f"filesystem={self.filesystem!r}, root={redact(self.root)!r}"
        return f"StoredDataset(url={self.url!r}, {where}, {facts}, {problems})"

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The data files, sorted by name."""
        return self.inventory.files

    @property
    def num_rows(self) -> int:
        """How many rows there are: exact, from the footers."""
        return self.inventory.num_rows

    @property
    def row_groups(self) -> RowGroups:
        """All row groups in order."""
        return RowGroups(self)

    def file_metadata(self, index: int) -> pq.FileMetaData:
        """The footer of a file, parsed; hand it to `pq.ParquetFile(metadata=)` to save reading it again."""
        return self.footers[index].metadata

    def arrow_schema(self, index: int) -> pa.Schema:
        """The columns that a file really has, as Arrow reads them."""
        return self.arrow_schemas[index]

    @cached_property
    def filter_schema(self) -> pa.Schema:
        """The Arrow type of every field, as filters see it: `where` is checked and evaluated against it."""
        return self.schema.as_arrow_schema()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hex of names, sizes, rows of every row group and the schema: what the order of rows depends on."""
        digest = hashlib.sha256()
        digest.update(json.dumps([[file.name, file.size] for file in self.files]).encode())
        for counts in (self.inventory.row_group_file, self.inventory.row_group_rows):
            digest.update(np.ascontiguousarray(counts, "<i8").tobytes())
        digest.update(self.schema.to_json().encode())
        return digest.hexdigest()

    def field_statistics(self, file: int, ordinal: int, name: str) -> Statistics | None:
        """See `RowGroup.statistics`; `file` is an index in `files`."""
        if name in self.partition_fields:
            value = self.partition_fields[name][file]
            rows = self.footers[file].metadata.row_group(ordinal).num_rows
            return Statistics(value, value, rows if value is None else 0, rows)
        if name not in self.column_paths:
            near = ", ".join(self.schema.fields)
            raise OptionError(f"the dataset has no field {name!r}. Its fields: {near}.")
        columns = self._leaves[file].get(".".join(self.column_paths[name]))
        if columns is None:
            if self.column_paths[name][0] in self.arrow_schemas[file].names:
                return None
            # A column added later: older files hold nulls, so to speak.
            rows = self.footers[file].metadata.row_group(ordinal).num_rows
            return Statistics(None, None, rows, rows)
        return column_statistics(self.footers[file].metadata, ordinal, columns) if columns >= 0 else None

    def flat_column(self, file: int, name: str) -> int | None:
        """The index of the Parquet column of a field in a file; None where it has none, or one of lists."""
        path = self.column_paths.get(name)
        column = -1 if path is None else self._leaves[file].get(".".join(path), -1)
        return column if column >= 0 else None

    @cached_property
    def _leaves(self) -> Sequence[Mapping[str, int]]:
        """For each file its flat Parquet columns by dotted path; -1 for a list and where two share a path."""
        known: list[tuple[Any, dict[str, int]]] = []
        leaves = []
        for footer in self.footers:
            schema = footer.metadata.schema
            table = next((table for other, table in known if other.equals(schema)), None)
            if table is None:
                table = {}
                for i in range(len(schema)):
                    column = schema.column(i)
                    flat = column.max_repetition_level == 0 and column.path not in table
                    table[column.path] = i if flat else -1
                known.append((schema, table))
            leaves.append(table)
        return leaves

    def get_counts(self, key: str) -> Array | None:
        """The int64 array kept under `key` for the dataset as it is now, or None."""
        if self.sidecar == "never":
            return None
        return self._counts.get((self.fingerprint, key))

    def put_counts(self, key: str, counts: Array) -> bool:
        """Keep a small array under `key` in the sidecar, for later openings too.

        False if it was not kept: the dataset is small, its store can't be written, or sidecars are switched off.
        """
        worth = len(self.files) >= SIDECAR_MIN_FILES or self.num_rows >= SIDECAR_MIN_ROWS
        if self.sidecar == "never" or (self.sidecar == "auto" and not worth):
            return False
        counts = np.array(counts, np.int64)
        self._counts[self.fingerprint, key] = counts
        # Others may have written since: keep theirs, but not what was counted on other data.
        current = load_sidecar(self.filesystem, self.root)
        kept = {found: array for found, array in current.counts.items() if found[0] == self.fingerprint}
        return store_sidecar(
            self.filesystem, self.root, replace(current, counts={**kept, (self.fingerprint, key): counts})
        )

    @cached_property
    def _counts(self) -> dict[tuple[str, str], Array]:
        return dict(load_sidecar(self.filesystem, self.root).counts)


def row_group_arrays(files: Sequence[DataFile], footers: Sequence[Footer]) -> Inventory:
    """All row groups of `files` as arrays, from their footers."""
    file_of: list[int] = []
    ordinals: list[int] = []
    rows: list[int] = []
    sizes: list[int] = []
    for i, footer in enumerate(footers):
        for ordinal in range(footer.metadata.num_row_groups):
            group = footer.metadata.row_group(ordinal)
            file_of.append(i)
            ordinals.append(ordinal)
            rows.append(group.num_rows)
            sizes.append(group.total_byte_size)
    return Inventory(
        tuple(files),
        np.array(file_of, np.int32),
        np.array(ordinals, np.int32),
        np.array(rows, np.int64),
        np.array(sizes, np.int64),
    )

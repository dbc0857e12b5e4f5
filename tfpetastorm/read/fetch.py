"""Column chunks from row groups, as Arrow arrays."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from tfpetastorm.errors import DamagedDataError, DatasetChangedError, Place, SchemaError, describe
from tfpetastorm.read.files import OpenFiles
from tfpetastorm.schema.codecs import arrow_type
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.storage.footers import parse_footer
from tfpetastorm.storage.inventory import Inventory

#: Row groups kept at hand while they are read in slices; several workers may be at the borders of two of them.
_ROW_GROUPS_AT_HAND = 4

#: Their bytes, but for the newest: what a shard or a window took a few rows of may never be asked for again.
_BYTES_AT_HAND = 256 * 1024 * 1024


@dataclass(frozen=True, eq=False)
class Source:
    """What a fetch needs to know of a dataset, small enough to send to a worker process.

    column_paths: for each stored field, the path of struct members that leads to it. partitions: the fields that
    folder names hold, each with its value in every file. footers: of every file, as stored, so that worker processes
    need not ask a store for them again; None if they are many, or at hand without a request.
    """

    filesystem: pafs.FileSystem
    inventory: Inventory
    column_paths: Mapping[str, tuple[str, ...]]
    partitions: Mapping[str, tuple[Any, ...]]
    footers: tuple[bytes, ...] | None = None

    def place(self, row_group: int, row: int | None = None, field: str | None = None) -> Place:
        """Where a row group is, by its index in the inventory."""
        file = self.inventory.files[int(self.inventory.row_group_file[row_group])]
        return Place(file.path, int(self.inventory.row_group_ordinal[row_group]), row, field)


@dataclass(frozen=True, eq=False)
class Fetched:
    """Arrays by field, for a whole row group, and what fetching them cost."""

    arrays: dict[str, pa.Array]
    bytes_fetched: int


class Fetcher:
    """Fetches columns of row groups. Threads may share one; each keeps its own open files.

    metadata: gives the footer of a file by its index, if it is at hand, so that it is not read again.
    """

    def __init__(self, source: Source, metadata: Callable[[int], pq.FileMetaData] | None = None) -> None:
        self._source = source
        self._files = OpenFiles(source.filesystem, source.inventory, metadata or _parsed(source.footers))
        self._lock = threading.Lock()
        # With the rows that no slice has taken yet: those are outside the budget and should not stay.
        self._at_hand: OrderedDict[tuple[int, tuple[str, ...]], tuple[Future[Fetched], int]] = OrderedDict()

    @property
    def at_hand(self) -> int:
        """How many row groups are at hand, each once for every set of fields."""
        with self._lock:
            return len(self._at_hand)

    def fetch(
        self, row_group: int, fields: list[UnischemaField], keep: bool, rows: int = 0
    ) -> tuple[dict[str, pa.Array], int]:
        """The columns of a row group, and the compressed bytes that had to be fetched for them (0 if at hand).

        keep: whether to keep them at hand for other slices of this row group; of several threads that want them at
        once one fetches. rows: how many of its rows this slice takes; when all are taken, it is let go of. Raises
        DamagedDataError, DatasetChangedError or StoreError.
        """
        if not keep:
            fetched = self._read(row_group, fields)
            return fetched.arrays, fetched.bytes_fetched
        key = (row_group, tuple(field.name for field in fields))
        with self._lock:
            future, left = self._at_hand.pop(key, (None, int(self._source.inventory.row_group_rows[row_group])))
            mine = future is None
            if future is None:
                future = Future()
            if left > rows:
                self._at_hand[key] = future, left - rows
            while len(self._at_hand) > _ROW_GROUPS_AT_HAND:
                self._at_hand.popitem(last=False)
        if mine:
            try:
                future.set_result(self._read(row_group, fields))
                self._forget_surplus()
            except BaseException as error:  # noqa: BLE001  # handed to every thread that waits
                with self._lock:
                    self._at_hand.pop(key, None)
                future.set_exception(error)
        fetched = future.result()
        return fetched.arrays, fetched.bytes_fetched if mine else 0

    def _forget_surplus(self) -> None:
        with self._lock:
            total = 0
            for key, (future, _) in reversed(list(self._at_hand.items())):
                if total > _BYTES_AT_HAND:
                    del self._at_hand[key]
                elif future.done() and future.exception() is None:
                    total += sum(array.nbytes for array in future.result().arrays.values())

    def close(self) -> None:
        """Lets go of open files and of what is at hand; a later fetch opens them again."""
        with self._lock:
            self._at_hand.clear()
        self._files.close()

    def _read(self, row_group: int, fields: list[UnischemaField]) -> Fetched:
        source, inventory = self._source, self._source.inventory
        file_index = int(inventory.row_group_file[row_group])
        ordinal = int(inventory.row_group_ordinal[row_group])
        rows = int(inventory.row_group_rows[row_group])
        stored = [field for field in fields if field.name not in source.partitions]
        arrays: dict[str, pa.Array] = {}
        spent = 0
        if stored:
            paths = {field.name: source.column_paths.get(field.name, (field.name,)) for field in stored}
            try:
                with self._files.lent(file_index, _texts(stored)) as file:
                    table, spent = file.read(ordinal, {".".join(path) for path in paths.values()})
            except FileNotFoundError as error:
                raise self._damaged("A file is missing", row_group, error) from error
            except (OSError, pa.ArrowException) as error:
                raise self._damaged("A row group can't be read", row_group, error) from error
            if table.num_rows != rows:
                raise DatasetChangedError(
                    describe(
                        "A row group has changed since the dataset was opened",
                        source.place(row_group),
                        expected=f"{rows} rows",
                        found=f"{table.num_rows} rows",
                        remedy="Open the dataset again.",
                    )
                )
            for name, path in paths.items():
                arrays[name] = _member(table, path, rows, replace(source.place(row_group), field=name))
        for field in fields:
            if field.name in source.partitions:
                arrays[field.name] = _constant(field, source.partitions[field.name][file_index], rows)
        return Fetched(arrays, spent)

    def _damaged(self, what: str, row_group: int, error: Exception) -> DamagedDataError:
        remedy = (
            "Restore the file; make_dataset and ParquetDataset can skip what is damaged: on_error=Skip(budget=...)."
        )
        # Arrow's messages run over several lines.
        reason = " ".join(str(error).split()).rstrip(".")
        return DamagedDataError(describe(f"{what}: {reason}", self._source.place(row_group), remedy=remedy))


def _parsed(footers: tuple[bytes, ...] | None) -> Callable[[int], pq.FileMetaData] | None:
    return None if footers is None else lambda file: parse_footer(footers[file]).metadata


def _texts(fields: list[UnischemaField]) -> tuple[str, ...]:
    return tuple(field.name for field in fields if field.is_text and not field.shape and field.kind != "decimal")


def _member(table: pa.Table, path: tuple[str, ...], rows: int, place: Place) -> pa.Array:
    """One column, or a member of a struct column, as a single array; nulls where the file lacks it."""
    if path[0] not in table.column_names:
        return pa.nulls(rows)
    try:
        column = table.column(path[0])
    except KeyError:
        found = table.column_names.count(path[0])
        raise SchemaError(
            describe("Several columns have one name", place, expected="one", found=found, remedy="Rename all but one.")
        ) from None
    for name in path[1:]:
        if not pa.types.is_struct(column.type) or column.type.get_field_index(name) < 0:
            return pa.nulls(rows)
        column = pc.struct_field(column, name)
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    if not column.num_chunks:
        return pa.array([], column.type)
    combined = column.combine_chunks()
    # Columns of more than 2 GiB of strings don't fit one array of 32-bit offsets.
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _constant(field: UnischemaField, value: Any, rows: int) -> pa.Array:
    """A partition's value for every row, as a dictionary of one entry where it is text."""
    item = pa.array([value], arrow_type(field))
    codes = pa.array(np.zeros(rows, np.int32))
    if field.is_text and value is not None:
        return pa.DictionaryArray.from_arrays(codes, item)
    return item.take(codes)

"""Row-group indexers: in which row groups a value occurs, or a field is not null.

Row groups are numbers: places in `StoredDataset.row_groups`, which is petastorm's own order. How indexes are stored is
told in `row_group_index.py`.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import OptionError, describe
from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of

#: What an index of where a field is not null has as its only value.
_NOT_NULL = "Field is Not Null"


class RowGroupIndexerBase(ABC):
    """An index under construction, or one that was read. Subclass it for indexes of your own: `build_rowgroup_index`
    calls `build_index` with the rows of each row group, and stores what `indexed_values` and `get_row_group_indexes`
    tell, which is what comes back."""

    @abstractmethod
    def __add__(self, other: Any) -> Any:
        """This index with what another of the same kind and fields found."""

    @property
    @abstractmethod
    def index_name(self) -> str:
        """The name by which selectors find it."""

    @property
    @abstractmethod
    def column_names(self) -> list[str]:
        """The fields it needs."""

    @property
    @abstractmethod
    def indexed_values(self) -> list[Any]:
        """The values that were found."""

    @abstractmethod
    def get_row_group_indexes(self, value_key: Any) -> set[int]:
        """The row groups with a value; none for one that was never found."""

    @abstractmethod
    def build_index(self, decoded_rows: Sequence[Mapping[str, Any]], piece_index: int) -> Any:
        """Add the rows of the row group `piece_index`: decoded values by field, None for null."""


class SingleFieldIndexer(RowGroupIndexerBase):
    """In which row groups each value of a field occurs; of arrays, each of their items. Nulls and NaN are left out."""

    def __init__(self, index_name: str, index_field: str) -> None:
        self._name = index_name
        self._field = index_field
        self._groups: dict[Any, set[int]] = {}

    def __add__(self, other: Any) -> SingleFieldIndexer:
        _check_alike(self, other)
        for value, groups in other._groups.items():
            self._groups.setdefault(value, set()).update(groups)
        return self

    @property
    def index_name(self) -> str:
        """The name by which selectors find it."""
        return self._name

    @property
    def column_names(self) -> list[str]:
        """The field it indexes."""
        return [self._field]

    @property
    def indexed_values(self) -> list[Any]:
        """The values that were found: bool, int, float, str, bytes, Decimal or np.datetime64."""
        return list(self._groups)

    def get_row_group_indexes(self, value_key: Any) -> set[int]:
        """The row groups with a value; none for one that was never found, and asking changes nothing."""
        # Not the set itself, and no defaultdict: petastorm's grew by each unknown value that was asked for.
        return set(self._groups.get(index_key(value_key), ()))

    def build_index(self, decoded_rows: Sequence[Mapping[str, Any]], piece_index: int) -> dict[Any, set[int]]:
        """Add the rows of a row group. Raises OptionError if there are none."""
        for cell in _cells(self._field, decoded_rows):
            items = cell.reshape(-1) if isinstance(cell, np.ndarray) else [cell]
            self.add(items, piece_index)
        return self._groups

    def add(self, values: Iterable[Any], row_group: int) -> None:
        """Note that a row group has these values."""
        for value in values:
            key = index_key(value)
            if key is not None and key == key:
                self._groups.setdefault(key, set()).add(row_group)


class FieldNotNullIndexer(RowGroupIndexerBase):
    """In which row groups a field is not null in every row."""

    def __init__(self, index_name: str, index_field: str) -> None:
        self._name = index_name
        self._field = index_field
        self._groups: set[int] = set()

    def __add__(self, other: Any) -> FieldNotNullIndexer:
        _check_alike(self, other)
        self._groups |= other._groups
        return self

    @property
    def index_name(self) -> str:
        """The name by which selectors find it."""
        return self._name

    @property
    def column_names(self) -> list[str]:
        """The field it indexes."""
        return [self._field]

    @property
    def indexed_values(self) -> list[str]:
        """One text, as petastorm has it."""
        return [_NOT_NULL]

    def get_row_group_indexes(self, value_key: Any = None) -> set[int]:
        """The row groups in which the field is not null everywhere, whatever the value."""
        return set(self._groups)

    def build_index(self, decoded_rows: Sequence[Mapping[str, Any]], piece_index: int) -> set[int]:
        """Add the rows of a row group. Raises OptionError if there are none."""
        if any(cell is not None for cell in _cells(self._field, decoded_rows)):
            self._groups.add(piece_index)
        return self._groups

    def add(self, present: bool, row_group: int) -> None:
        """Note whether a row group has a row in which the field is not null."""
        if present:
            self._groups.add(row_group)


class StoredIndexer(RowGroupIndexerBase):
    """An index of the user's own class, as it comes back: it can be asked, not built on."""

    def __init__(self, index_name: str, fields: Sequence[str], groups: Mapping[Any, Iterable[int]]) -> None:
        self._name = index_name
        self._fields = list(fields)
        self._groups = {index_key(value): frozenset(numbers) for value, numbers in groups.items()}

    def __add__(self, other: Any) -> Any:
        raise OptionError(f"The stored index {self._name!r} can't be added to: build it anew.")

    @property
    def index_name(self) -> str:
        """The name by which selectors find it."""
        return self._name

    @property
    def column_names(self) -> list[str]:
        """The fields it was built from."""
        return self._fields

    @property
    def indexed_values(self) -> list[Any]:
        """The values that were found."""
        return list(self._groups)

    def get_row_group_indexes(self, value_key: Any) -> set[int]:
        """The row groups with a value; none for one that was never found."""
        return set(self._groups.get(index_key(value_key), ()))

    def build_index(self, decoded_rows: Sequence[Mapping[str, Any]], piece_index: int) -> Any:
        """Raises OptionError."""
        raise OptionError(f"The stored index {self._name!r} can't be added to: build it anew.")


def distinct_items(field: UnischemaField, column: Column) -> list[Any]:
    """The values that a column holds, each once: of arrays their items. Without nulls."""
    values, valid = column.values, column.valid
    if isinstance(values, Text):
        if values.codes is None:
            offsets = np.ascontiguousarray(values.offsets, np.int64)
            buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values.data))]
            entries = pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers).dictionary_encode()
            codes = entries.indices.to_numpy()
            lengths = np.zeros(len(entries.dictionary) + 1, np.int64)
            raw = entries.dictionary
            lengths[1:] = np.cumsum([len(entry) for entry in raw.to_pylist()])
            data = np.frombuffer(b"".join(raw.to_pylist()), np.uint8)
            values = Text(lengths, data, codes.astype(np.int32))
        assert values.codes is not None
        used = np.unique(_valid_items(values.codes, column, valid))
        # One row for each distinct value.
        return cells_of(_item_field(field), Column(Text(values.offsets, values.data, used.astype(np.int32))))
    items = np.unique(_valid_items(np.asarray(values), column, valid))
    return list(items)


def _valid_items(items: Array, column: Column, valid: Array | None) -> Array:
    # Null rows of ragged fields have no items; others hold zeros or empty texts.
    if valid is None or column.splits:
        return items.reshape(-1)
    return np.asarray(items.reshape(len(valid), -1)[valid].reshape(-1))


def _item_field(field: UnischemaField) -> UnischemaField:
    return UnischemaField(field.name, field.numpy_dtype)


def index_key(value: Any) -> Any:
    """A value as indexes have it, so that equal values of any type are one: np.datetime64 in microseconds where that
    is exact, Python's types for all else. Raises OptionError for what can't be a value."""
    if isinstance(value, (np.datetime64, dt.date)):
        if isinstance(value, dt.datetime) and value.tzinfo is not None:
            value = value.astimezone(dt.timezone.utc).replace(tzinfo=None)
        given = value.to_datetime64() if hasattr(value, "to_datetime64") else np.datetime64(value)
        if np.isnat(given):
            return None
        micro = given.astype("datetime64[us]")
        return micro if micro.astype(given.dtype) == given else given.astype("datetime64[ns]")
    if isinstance(value, np.generic):
        value = value.item()
    try:
        hash(value)
    except TypeError:
        raise OptionError(
            describe("Not a value that an index can have", expected="a scalar", found=f"{type(value).__name__}")
        ) from None
    return value


def _cells(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    if not len(rows):
        raise OptionError(f"Cannot build index for empty rows, column '{name}'")
    return [row[name] for row in rows if row[name] is not None]


def _check_alike(one: Any, other: Any) -> None:
    if type(other) is not type(one):
        raise TypeError(f"An index of {type(one).__name__} can't take in a {type(other).__name__}.")
    if one.column_names != other.column_names:
        raise OptionError(
            describe("Indexes of different fields can't be added", expected=one.column_names, found=other.column_names)
        )

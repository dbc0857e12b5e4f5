"""Decoded columns as PyTorch has them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from tfpetastorm.errors import OptionError
from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.torch.tensors import as_tensor


class Values:
    """Turns the columns of a batch into what a batch holds.

    fields: those that come out. ragged: for fields of variable shape "list" (the default: for each row a tensor, or
    where dimensions differ within a row a list of such), "pad" (one tensor, zeros after the end, as long as the longest
    of the batch in each dimension), or by field one of these or a size: the length of every dimension that varies;
    longer is an error.

    Raises OptionError for other options, and for text to be padded.
    """

    def __init__(self, fields: tuple[UnischemaField, ...], ragged: Any = "list") -> None:
        self._fields = fields
        given: Mapping[str, Any] = ragged if isinstance(ragged, Mapping) else {}
        unknown = [name for name in given if name not in {field.name for field in fields}]
        if unknown:
            raise OptionError(f"ragged= names {unknown}, which do not come out.")
        self._ways: dict[str, Any] = {}
        for field in fields:
            way = given.get(field.name, "list" if isinstance(ragged, Mapping) else ragged)
            size = isinstance(way, (int, np.integer)) and not isinstance(way, bool) and way > 0
            if way not in ("list", "pad") and not size:
                raise OptionError(f'ragged= takes "list", "pad", or by field one of these or a size, not {way!r}.')
            named = isinstance(ragged, Mapping) and field.name in given
            if named and way != "list" and (not field.ragged_rank or field.is_text):
                raise OptionError(f"ragged={{{field.name!r}: {way!r}}}: only numbers of variable shape can be padded.")
            self._ways[field.name] = way

    def of(self, columns: Mapping[str, Column]) -> dict[str, Any]:
        """Tensors `[rows, *shape]` by field, of the field's own dtype; datetimes as int64 in their unit, dates as int32
        days. Text, bytes and Decimals come as (nested) lists of str, bytes and Decimal."""
        return {field.name: self._of(field, columns[field.name]) for field in self._fields}

    def _of(self, field: UnischemaField, column: Column) -> Any:
        if isinstance(column.values, Text):
            return [_plain(cell) for cell in cells_of(field, column)]
        values = numbers(field, column.values)
        if not column.splits:
            return as_tensor(values)
        way = self._ways[field.name]
        if way == "list":
            return _parts(values, column.splits, 0)
        return as_tensor(padded(field, values, column.splits, None if way == "pad" else int(way)))


def numbers(field: UnischemaField, values: Array) -> Array:
    """Datetimes as int64, dates as int32 days."""
    if values.dtype.kind != "M":
        return values
    found = values.view(np.int64)
    return found.astype(np.int32) if field.kind == "date" else found


def padded(field: UnischemaField, values: Array, splits: tuple[Array, ...], size: int | None) -> Array:
    """`[rows, …, *inner]`: the items in their places, zeros elsewhere. size: of every dimension that varies; None for
    the longest. Raises OptionError if something is longer."""
    shape, index = [len(splits[0]) - 1], [np.arange(len(splits[0]) - 1)]
    for axis, split in enumerate(splits):
        lengths = np.diff(split)
        longest = int(lengths.max()) if len(lengths) else 0
        declared = field.shape[axis]
        wanted = declared if declared is not None else longest if size is None else size
        if longest > wanted:
            raise OptionError(
                f"ragged={{{field.name!r}: {size}}} is less than the {longest} items that a row has: use more, or "
                '"pad".'
            )
        shape.append(wanted)
        index = [np.repeat(places, lengths) for places in index]
        index.append(np.arange(int(lengths.sum())) - np.repeat(split[:-1], lengths))
    found = np.zeros((*shape, *values.shape[1:]), values.dtype)
    found[tuple(index)] = values
    return found


def _parts(values: Array, splits: tuple[Array, ...], axis: int) -> list[Any]:
    split = splits[axis].tolist()
    if axis + 1 == len(splits):
        whole = as_tensor(values)
        return [whole[start:stop] for start, stop in pairwise(split)]
    below = _parts(values, splits, axis + 1)
    return [below[start:stop] for start, stop in pairwise(split)]


def _plain(cell: Any) -> Any:
    if isinstance(cell, np.ndarray):
        return [_plain(part) for part in cell.tolist()] if cell.ndim else cell.item()
    if isinstance(cell, list):
        return [_plain(part) for part in cell]
    return str(cell) if isinstance(cell, np.str_) else bytes(cell) if isinstance(cell, np.bytes_) else cell

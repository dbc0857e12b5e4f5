"""Columns of encoded cells: walking over them, checking what came out, putting it together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import Place, SchemaMismatchError, TfpetastormError, UnsafeDataError, describe
from tfpetastorm.schema.codecs.assemble import fill_absent, ragged_column
from tfpetastorm.schema.codecs.base import Limits, OnBad, UnsafeReason
from tfpetastorm.schema.codecs.buffers import binary_parts, is_textual, storage_of, text_of, validity
from tfpetastorm.schema.codecs.fit import describe_field, fits
from tfpetastorm.schema.columns import Array, Column, Text, empty_aligned

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField


class EncodedCells:
    """The cells of a binary column: `cells[row]` is uint8 `[bytes]`, without a copy.

    valid: bool `[rows]`, None if nothing is null. rows: the rows that are not null, int64.
    Raises SchemaMismatchError if the column does not hold bytes.
    """

    def __init__(self, field: UnischemaField, array: pa.Array) -> None:
        array = storage_of(array)
        if pa.types.is_null(array.type):
            array = array.cast(pa.binary())
        if not is_textual(array.type):
            raise SchemaMismatchError(
                describe(
                    "The stored type can't become the field's",
                    Place(field=field.name),
                    expected=f"binary, for {field.codec!r}",
                    found=array.type,
                )
            )
        self.valid = validity(array)
        self.offsets, self.data = binary_parts(array)
        self.rows: Array = np.arange(len(array)) if self.valid is None else np.flatnonzero(self.valid)
        self.count = len(array)

    def __getitem__(self, row: int) -> Array:
        return self.data[self.offsets[row] : self.offsets[row + 1]]


def shape_problem(field: UnischemaField, shape: tuple[int, ...], itemsize: int, limits: Limits) -> str | None:
    """Why a cell of this shape is refused, or None. Also bounds what an open shape may cost in memory."""
    if not fits(field, shape):
        return f"expected {describe_field(field)}, found shape {shape}"
    if field.ragged_rank:
        cost = cell_cost(field, shape, itemsize)
        if cost > limits.max_cell_bytes:
            return UnsafeReason(f"it would take {cost} bytes, more than the limit of {limits.max_cell_bytes} a cell")
    return None


def cell_cost(field: UnischemaField, shape: tuple[int, ...], itemsize: int) -> int:
    """The bytes that a cell of this shape takes: its items, or its row splits where a later dimension is 0."""
    return max(math.prod(shape) * itemsize, 8 * _split_count(field, shape))


class CellBudget:
    """The bytes that the cells of one column may still take: many small bombs are as bad as a large one."""

    def __init__(self, limits: Limits) -> None:
        self._limit = self._left = limits.max_column_bytes

    def take(self, size: int) -> str | None:
        """Count a cell of `size` bytes, or say why it is refused."""
        if size > self._left:
            return UnsafeReason(f"with it the cells would take more than the limit of {self._limit} bytes a column")
        self._left -= size
        return None


def _split_count(field: UnischemaField, shape: tuple[int, ...]) -> int:
    count = parts = 1
    for length in shape[: field.ragged_rank - 1]:
        parts *= length
        count += parts
    return count


def gather(field: UnischemaField, cells: Sequence[Any], valid: Array | None) -> Column:
    """The Column of decoded and checked cells, None for rows that are null or bad.

    cells: for text, bytes and decimals, object arrays of bytes (UTF-8 for text) of the field's shape; else arrays of
        its dtype and shape.
    """
    present = np.array([cell is not None for cell in cells], np.bool_)
    found = [cell for cell in cells if cell is not None]
    shapes = np.array([cell.shape for cell in found], np.int64).reshape(len(found), len(field.shape))
    values: Array | Text
    if field.is_text:
        items = [item for cell in found for item in cell.reshape(-1).tolist()]
        values = text_of(pa.array(items, pa.large_binary()))
    else:
        values = _joined(field, found)
    if not field.ragged_rank:
        per_row = math.prod(field.inner_shape)
        if not isinstance(values, Text):
            values = values.reshape(len(found) * per_row)
        values = fill_absent(values, present, per_row)
        if isinstance(values, Text):
            return Column(values, (), valid, field.inner_shape)
        return Column(values.reshape(len(cells), *field.inner_shape), (), valid, field.inner_shape)
    return ragged_column(field, lengths_of(field, shapes), values, present, valid)


def lengths_of(field: UnischemaField, shapes: Array) -> list[Array]:
    """What `ragged_column` needs, of cells that are each a whole block. shapes: int64 `[rows present, rank]`."""
    lengths = []
    parts = np.ones(len(shapes), np.int64)
    for axis in range(field.ragged_rank):
        lengths.append(np.repeat(shapes[:, axis], parts))
        parts = parts * shapes[:, axis]
    return lengths


def _joined(field: UnischemaField, cells: Sequence[Array]) -> Array:
    inner = field.inner_shape
    width = int(np.prod(inner, dtype=np.int64))
    counts = [int(np.prod(cell.shape[: field.ragged_rank], dtype=np.int64)) for cell in cells]
    joined = empty_aligned((sum(counts), *inner), field.dtype)
    flat = joined.reshape(-1)
    position = 0
    for cell, count in zip(cells, counts, strict=True):
        flat[position : position + count * width] = cell.reshape(-1)
        position += count * width
    return joined


def decode_by_cell(
    field: UnischemaField,
    array: pa.Array,
    on_bad: OnBad,
    limits: Limits,
    decode_cell: Callable[[UnischemaField, memoryview, Limits], Any],
) -> Column:
    """All rows, by one call of `decode_cell` each, whose results are checked against the field."""
    encoded = EncodedCells(field, array)
    cells: list[Any] = [None] * encoded.count
    for row in encoded.rows:
        try:
            cells[row] = checked_cell(field, decode_cell(field, encoded[row].data, limits), limits)
        except UnsafeDataError as error:
            on_bad(int(row), UnsafeReason(error))
        except (ValueError, TypeError, TfpetastormError, LookupError, OverflowError) as error:
            on_bad(int(row), f"{error}" or type(error).__name__)
    return gather(field, cells, encoded.valid)


def checked_cell(field: UnischemaField, value: Any, limits: Limits) -> Any:
    """One decoded value as `gather` takes it. Raises ValueError or UnsafeDataError if it is not the field's."""
    array = np.asarray(value, dtype=object) if field.is_text else np.asarray(value)
    problem = shape_problem(field, array.shape, array.itemsize, limits)
    if problem is not None:
        raise UnsafeDataError(problem) if isinstance(problem, UnsafeReason) else ValueError(problem)
    if field.is_text:
        return text_cell(field, array)
    if array.dtype.newbyteorder("=") != field.dtype:
        raise ValueError(f"expected {describe_field(field)}, found {array.dtype}")
    return array


def text_cell(field: UnischemaField, array: Any) -> Any:
    """An object array of bytes, from an array of what the field's items are. Raises ValueError for other items."""
    kinds: tuple[type, ...] = {"text": (str,), "bytes": (bytes,), "decimal": (Decimal, str)}[field.kind]
    items = array.reshape(-1).tolist()
    encoded = np.empty(len(items), object)
    for position, item in enumerate(items):
        if not isinstance(item, kinds):
            raise ValueError(f"expected {describe_field(field)}, found {type(item).__name__}")
        encoded[position] = item if isinstance(item, bytes) else str(item).encode()
    return encoded.reshape(array.shape)

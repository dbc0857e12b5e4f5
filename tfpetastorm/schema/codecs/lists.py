"""Arrow lists, nested to any depth, and fixed-size lists, as Columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfpetastorm.errors import Place, SchemaMismatchError, describe
from tfpetastorm.schema.codecs.assemble import fill_absent, ragged_column
from tfpetastorm.schema.codecs.base import OnBad
from tfpetastorm.schema.codecs.buffers import storage_of, validity
from tfpetastorm.schema.codecs.flat import decode_flat
from tfpetastorm.schema.columns import Array, Column, Text, empty_aligned

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField


def is_list(kind: pa.DataType) -> bool:
    """Whether values of this type are lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def decode_lists(field: UnischemaField, array: pa.Array, on_bad: OnBad) -> Column:
    """A column of lists as the field's shape says: one level of lists, of any kind, for each dimension."""
    array = storage_of(array)
    valid = validity(array)
    present = valid
    array, lengths, items = _unnest(field, array)
    bad = _wrong_shapes(field, lengths, array, items)
    if bad:
        for row in sorted(bad):
            on_bad(row, bad[row])
        present = np.ones(len(array), np.bool_) if valid is None else valid.copy()
        present[list(bad)] = False
        # Taking with null indices drops the bad rows' items as if the rows were null.
        array = array.take(pa.array(np.arange(len(array)), mask=~present))
        array, lengths, items = _unnest(field, array)
    rows_of = _rows_of_items(lengths, present, len(array))
    values, item_valid = decode_flat(field, items, lambda item, reason: on_bad(int(rows_of()[item]), reason))
    if item_valid is not None:
        values = _null_items(field, values, item_valid, rows_of, on_bad)
    return shaped(field, lengths, values, present, valid, len(array))


def shaped(
    field: UnischemaField,
    lengths: list[Array],
    values: Array | Text,
    present: Array | None,
    valid: Array | None,
    rows: int,
) -> Column:
    """The Column of items whose lengths were checked. lengths: as `ragged_column` takes them, for present rows."""
    if not field.ragged_rank:
        per_row = math.prod(field.inner_shape)
        values = fill_absent(values, present, per_row)
        if isinstance(values, Text):
            return Column(values, (), valid, field.inner_shape)
        return Column(values.reshape(rows, *field.inner_shape), (), valid, field.inner_shape)
    if not isinstance(values, Text):
        count = int(lengths[field.ragged_rank - 1].sum())
        values = values.reshape(count, *field.inner_shape)
    return ragged_column(field, lengths[: field.ragged_rank], values, present, valid)


def _unnest(field: UnischemaField, array: pa.Array) -> tuple[pa.Array, list[Array], pa.Array]:
    """`array`, the lengths of present parts in each dimension, and the flat items."""
    lengths: list[Array] = []
    level = array
    while len(lengths) < len(field.shape):
        kind = level.type
        if pa.types.is_null(kind):
            level = pa.array([], _flat_null(field))
            while len(lengths) < len(field.shape):
                lengths.append(np.zeros(0, np.int64))
            return array, lengths, level
        if not is_list(kind):
            raise _unfit(field, array.type)
        if pa.types.is_fixed_size_list(kind):
            lengths.append(np.full(len(level) - level.null_count, kind.list_size, np.int64))
        else:
            counts = pc.list_value_length(level)
            lengths.append((counts.drop_null() if counts.null_count else counts).to_numpy().astype(np.int64))
        level = storage_of(level.flatten())
    if is_list(level.type):
        raise _unfit(field, array.type)
    return array, lengths, level


def _flat_null(field: UnischemaField) -> pa.DataType:
    from tfpetastorm.schema.codecs.native import native_scalar_type

    return native_scalar_type(field)


def _wrong_shapes(field: UnischemaField, lengths: list[Array], array: pa.Array, items: pa.Array) -> dict[int, str]:
    """Rows whose lists have other lengths than the field's fixed dimensions, or null lists inside, and why."""
    bad: dict[int, str] = {}
    expected_parts = len(array) - array.null_count
    rows = np.arange(len(array))[_present(array)]
    for axis, (size, counts) in enumerate(zip(field.shape, lengths, strict=True)):
        if len(counts) != expected_parts:
            return _rows_with_inner_nulls(array)
        if size is not None:
            for part in np.flatnonzero(counts != size):
                bad.setdefault(int(rows[part]), f"expected {size} items in dimension {axis}, found {counts[part]}")
        rows = np.repeat(rows, counts)
        expected_parts = int(counts.sum())
    return bad


def _present(array: pa.Array) -> Any:
    return np.ones(len(array), np.bool_) if not array.null_count else array.is_valid().to_numpy(zero_copy_only=False)


def _rows_with_inner_nulls(array: pa.Array) -> dict[int, str]:
    # Rare, so found by looking at the levels once more, this time with indices.
    rows = np.arange(len(array))[_present(array)]
    level = array
    while is_list(level.type):
        if pa.types.is_fixed_size_list(level.type):
            counts = np.full(len(level) - level.null_count, level.type.list_size)
        else:
            counts = pc.list_value_length(level).drop_null().to_numpy()
        rows = np.repeat(rows, counts)
        level = storage_of(level.flatten())
        if is_list(level.type) and level.null_count:
            return {int(row): "a list inside the cell is null" for row in np.unique(rows[~_present(level)])}
    raise AssertionError("some level holds nulls")


def _rows_of_items(lengths: list[Array], present: Array | None, rows: int) -> Any:
    def rows_of() -> Array:
        index = np.arange(rows) if present is None else np.flatnonzero(present)
        for counts in lengths:
            index = np.repeat(index, counts)
        return index

    return rows_of


def _null_items(
    field: UnischemaField, values: Array | Text, item_valid: Array, rows_of: Any, on_bad: OnBad
) -> Array | Text:
    if not isinstance(values, Text) and values.dtype.kind == "f":
        # As pandas and petastorm read them. Integers and strings have no such value.
        filled = empty_aligned(values.shape, values.dtype)
        filled[...] = values
        filled[~item_valid] = np.nan
        return filled
    for row in np.unique(rows_of()[~item_valid]):
        on_bad(int(row), "an item inside the list is null")
    return values


def _unfit(field: UnischemaField, kind: pa.DataType) -> SchemaMismatchError:
    return SchemaMismatchError(
        describe(
            "The stored type can't become the field's",
            Place(field=field.name),
            expected=f"lists nested {len(field.shape)} deep",
            found=str(kind),
        )
    )

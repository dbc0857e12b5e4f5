"""Decoded columns as TFX's record batches have them: lists of int64, float32 or bytes, null where a row has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import EncodeError, Place, describe
from tfpetastorm.read.ops import take
from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.tfxio.features import Feature

_INT64_MAX = np.iinfo(np.int64).max


def record_batch(
    features: Sequence[Feature], columns: Mapping[str, Column], rows: int, schema: pa.Schema, place: Place | None = None
) -> pa.RecordBatch:
    """The columns of some rows as a RecordBatch of `schema`, which is that of the features.

    place: where the rows begin, for messages. Raises EncodeError naming field and row for what TFX has no value of.
    """
    arrays = [
        pa.nulls(rows, feature.arrow_type)
        if feature.field is None
        else to_arrow(feature, columns[feature.field.name], place)
        for feature in features
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def to_arrow(feature: Feature, column: Column, place: Place | None = None) -> pa.Array:
    """A column as an array of the feature's type. A scalar is a list of one; NaT, like a null, is no list."""
    valid = column.valid
    if not isinstance(column.values, Text) and column.values.dtype.kind == "M" and column.values.ndim == 1:
        absent = np.isnat(column.values)
        if not column.splits and absent.any():
            valid = ~absent if valid is None else valid & ~absent
    numbers = None
    if valid is not None and valid.all():
        valid = None
    if valid is not None:
        numbers = np.flatnonzero(valid)
        column = take(column, numbers)
    splits = _splits(column)
    items = _items(feature, column, splits, numbers, place)
    splits = [*splits[: feature.depth - 1], _joined(splits[feature.depth - 1 :])]
    nulls, bitmap = 0, None
    if valid is not None:
        lengths = np.zeros(len(valid), np.int64)
        lengths[valid] = np.diff(splits[0])
        splits[0] = np.concatenate([[0], np.cumsum(lengths)])
        nulls, bitmap = int((~valid).sum()), pa.array(valid).buffers()[1]
    made, kind = items, feature.item
    for axis in reversed(range(feature.depth)):
        kind = pa.large_list(kind)
        offsets = pa.py_buffer(np.ascontiguousarray(splits[axis], np.int64))
        buffers = [bitmap if axis == 0 else None, offsets]
        made = pa.Array.from_buffers(kind, len(splits[axis]) - 1, buffers, nulls if axis == 0 else 0, children=[made])
    return made


def _splits(column: Column) -> list[Array]:
    """Row splits for each dimension, those of fixed size too; of a scalar one, of lists of one value."""
    splits = list(column.splits)
    inner = column.inner if isinstance(column.values, Text) else column.values.shape[1:]
    if not splits and not inner:
        return [np.arange(column.rows + 1, dtype=np.int64)]
    lists = int(splits[-1][-1]) if splits else column.rows
    for size in inner:
        splits.append(np.arange(lists + 1, dtype=np.int64) * size)
        lists *= size
    return splits


def _joined(splits: Sequence[Array]) -> Array:
    """The row splits of the outermost dimension in items of the innermost."""
    joined = splits[0]
    for split in splits[1:]:
        joined = split[joined]
    return joined


def _items(
    feature: Feature, column: Column, splits: Sequence[Array], numbers: Array | None, place: Place | None
) -> pa.Array:
    """The values of all rows. numbers: of the rows, where some are left out."""
    values = column.values
    if isinstance(values, Text):
        # No more than these rows' bytes: batches are sent, and their sizes are looked at.
        first, last = int(values.offsets[0]), int(values.offsets[-1])
        offsets = np.ascontiguousarray(values.offsets - first, np.int64)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values.data[first:last]))]
        items = pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
        return items if values.codes is None else items.take(pa.array(values.codes))
    flat = np.ascontiguousarray(values).reshape(-1)
    if feature.type == "FLOAT":
        with np.errstate(over="ignore"):
            return pa.array(flat.astype(np.float32, copy=False))
    if flat.dtype.kind == "M":
        _refuse(feature, np.isnat(flat), "a time: tf.Examples have no NaT in lists", flat, splits, numbers, place)
        return pa.array(flat.view(np.int64))
    if flat.dtype == np.uint64:
        _refuse(feature, flat > _INT64_MAX, "an integer of int64, as all of TFX has", flat, splits, numbers, place)
    return pa.array(flat.astype(np.int64, copy=False))


def _refuse(
    feature: Feature,
    wrong: Array,
    expected: str,
    flat: Array,
    splits: Sequence[Array],
    numbers: Array | None,
    place: Place | None,
) -> None:
    if not wrong.any():
        return
    item = int(np.argmax(wrong))
    row = int(np.searchsorted(_joined(splits), item, "right")) - 1
    row = row if numbers is None else int(numbers[row])
    given = place or Place()
    where = Place(given.file, given.row_group, (given.row or 0) + row, feature.name)
    raise EncodeError(
        describe(
            "TFX can't hold a value",
            where,
            expected=expected,
            found=flat[item],
            remedy="Store it as another type. A TFXIO leaves the field out if its schema lacks the feature.",
        )
    )

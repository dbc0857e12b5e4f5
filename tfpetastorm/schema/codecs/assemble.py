"""Cells of fixed or variable shape, put together to one Column: row splits, places of absent cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfpetastorm.schema.columns import Array, Column, Text, empty_aligned

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField


def fill_absent(values: Array | Text, present: Array | None, per_row: int) -> Array | Text:
    """Items of the rows present, spread over all rows: zeros or empty strings where absent.

    values: `[present rows * per_row, …]` or such a Text. present: bool `[rows]`; None if all are.
    Returns `[rows * per_row, …]`.
    """
    if present is None or bool(present.all()):
        return values
    rows = np.repeat(present, per_row)
    if isinstance(values, Text):
        if values.codes is not None:
            codes = empty_aligned((len(rows),), np.int32)
            codes[...] = len(values.offsets) - 1
            codes[rows] = values.codes
            return Text(np.append(values.offsets, values.offsets[-1]), values.data, codes)
        ends = np.empty(len(rows), np.int64)
        ends[...] = 0
        ends[rows] = np.diff(values.offsets)
        offsets = np.empty(len(rows) + 1, np.int64)
        offsets[0] = values.offsets[0]
        np.cumsum(ends, out=offsets[1:])
        offsets[1:] += values.offsets[0]
        return Text(offsets, values.data)
    spread = empty_aligned((len(rows), *values.shape[1:]), values.dtype)
    spread[...] = np.zeros((), values.dtype)
    spread[rows] = values
    return spread


def ragged_column(
    field: UnischemaField, lengths: Sequence[Array], values: Array | Text, present: Array | None, valid: Array | None
) -> Column:
    """A ragged Column from the lengths of the rows present.

    lengths: for each dimension up to the last None, int64: how many parts each part of the dimension before has;
        the first is `[rows present]`, each next is as long as the sum of the one before.
    values: the items of those rows, one after another: `[items, *inner]`, or a Text.
    present: bool `[rows]`, False for rows that are null or bad; None if all are present.
    """
    if present is not None and not present.all():
        lengths = _with_absent(field, lengths, present)
    return Column(values, tuple(_splits(part) for part in lengths), valid, field.inner_shape)


def _splits(lengths: Array) -> Array:
    splits = empty_aligned((len(lengths) + 1,), np.int64)
    splits[0] = 0
    np.cumsum(lengths, out=splits[1:])
    return splits


def _with_absent(field: UnischemaField, lengths: Sequence[Array], present: Array) -> list[Array]:
    # An absent cell has the fixed sizes that precede the first None, and nothing in it. Below, it has no parts.
    full: list[Array] = []
    parts = 1
    for axis, size in enumerate(field.shape[: field.ragged_rank]):
        table = np.full((len(present), parts), 0 if size is None else size, np.int64)
        table[present] = lengths[axis].reshape(int(present.sum()), parts)
        full.append(table.reshape(-1))
        if size is None:
            return [*full, *lengths[axis + 1 :]]
        parts *= size
    raise AssertionError("a ragged field has a None")

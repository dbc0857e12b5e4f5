"""Runs of equal values in a scalar column."""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.schema.field import UnischemaField


def runs_of(column: Column, field: UnischemaField) -> tuple[Array, tuple[Hashable, ...]]:
    """Where each maximal run of equal values begins (int64 `[r]`), and its value: numbers as Python's, str, bytes,
    Decimal or datetime64. Neighbouring runs differ. Without nulls; Python objects are made per run, not per row."""
    if not column.rows:
        return np.zeros(0, np.int64), ()
    if not isinstance(column.values, Text):
        values = column.values
        starts = _starts(values[1:] != values[:-1])
        found = values[starts]
        return starts, tuple(found if found.dtype.kind == "M" else found.tolist())
    text = column.values
    offsets = np.ascontiguousarray(text.offsets, np.int64)
    items = pa.Array.from_buffers(
        pa.large_binary(),
        len(offsets) - 1,
        [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text.data))],
    )
    starts = np.arange(len(items), dtype=np.int64)
    if text.codes is not None:
        # Equal codes are equal items; others may be too.
        starts = _starts(text.codes[1:] != text.codes[:-1])
        items = items.take(pa.array(text.codes[starts]))
    differs = _starts(pc.not_equal(items.slice(1), items.slice(0, len(items) - 1)).to_numpy(zero_copy_only=False))
    return starts[differs], tuple(_value(item, field) for item in items.take(pa.array(differs)).to_pylist())


def _starts(differs: Array) -> Array:
    return np.concatenate([[0], np.flatnonzero(differs) + 1]).astype(np.int64)


def _value(item: bytes, field: UnischemaField) -> Hashable:
    if field.kind == "bytes":
        return item
    # Whatever is not UTF-8 stays told apart.
    text = item.decode(errors="surrogateescape")
    return Decimal(text) if field.kind == "decimal" else text

"""Stable hashes of the values of a column, by which rows are split."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from tfpetastorm.plan.hashing import key64, mix64
from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.schema.rows import text_objects


def value_hashes(column: Column, key: np.uint64, decimal: bool = False) -> Array:
    """uint64 `[rows]`: a stable hash of each value of a scalar column; null hashes as zero or the empty string does.

    decimal: whether the text is that of Decimals, of which 1.5 and 1.50 are one value."""
    if isinstance(column.values, Text):
        distinct, codes = np.unique(text_objects(column.values, decode=False), return_inverse=True)
        items = [_normal(item) if decimal else bytes(item) for item in distinct]
        hashes = np.array([key64("value", item.hex()) for item in items], np.uint64)
        values: Array = hashes[codes.reshape(-1)] if len(hashes) else np.zeros(0, np.uint64)
    elif column.values.dtype.kind == "f":
        # Equal values hash equally whatever their width; -0.0 equals 0.0.
        values = (column.values.astype(np.float64) + 0.0).view(np.uint64)
    else:
        values = column.values.astype(np.int64).view(np.uint64)
    return mix64(mix64(values) ^ key)


def _normal(text: bytes) -> bytes:
    """The one text of all Decimals of a value."""
    if not text:
        return text
    sign, digits, exponent = Decimal(text.decode()).as_tuple()
    number = "".join(map(str, digits)).lstrip("0")
    kept = number.rstrip("0")
    # Not `normalize`, which rounds to the context's precision.
    return f"{'-' * sign}{kept}E{int(exponent) + len(number) - len(kept)}".encode() if kept else b"0"

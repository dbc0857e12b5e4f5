"""Columns as bytes, without a copy: aligned arrays one after another, and JSON that says which is where.

Memory files that travel between processes and the files of the disk cache have this form.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from tfpetastorm.schema.columns import ALIGNMENT, Array, Column, Text


class Layout:
    """Lays arrays one after another, each at a multiple of ALIGNMENT bytes.

    size: bytes so far. buffers: what to write, in order; they refer to the arrays.
    """

    def __init__(self) -> None:
        self.size = 0
        self.buffers: list[memoryview] = []

    def add(self, array: Array) -> list[object]:
        """Appends an array; its entry is [dtype, shape, offset]."""
        contiguous = np.ascontiguousarray(array).reshape(array.shape)
        offset = self.size
        if contiguous.nbytes:
            self.buffers.append(memoryview(contiguous.reshape(-1).view(np.uint8).data))
            padding = -contiguous.nbytes % ALIGNMENT
            if padding:
                self.buffers.append(memoryview(bytes(padding)))
            self.size += contiguous.nbytes + padding
        return [contiguous.dtype.str, list(contiguous.shape), offset]

    def add_column(self, column: Column) -> dict[str, Any]:
        """Appends the arrays of a column; `column_at` reads the entry."""
        entry: dict[str, Any] = {"inner": list(column.inner), "splits": [self.add(array) for array in column.splits]}
        if column.valid is not None:
            entry["valid"] = self.add(column.valid)
        if isinstance(column.values, Text):
            text = column.values
            entry["text"] = [self.add(text.offsets), self.add(text.data)]
            if text.codes is not None:
                entry["codes"] = self.add(text.codes)
        else:
            entry["values"] = self.add(column.values)
        return entry


def array_at(buffer: mmap.mmap | bytes | memoryview, entry: list[Any], base: int = 0) -> Array:
    """The array of an entry, in the memory of `buffer`. base: where in it the first array begins.

    Raises ValueError or TypeError where there is no such array.
    """
    dtype, shape, offset = entry
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return np.empty(shape, dtype)
    return np.frombuffer(buffer, dtype, count, base + offset).reshape(shape)


def column_at(buffer: mmap.mmap | bytes | memoryview, entry: dict[str, Any], base: int = 0) -> Column:
    """The column of an entry, in the memory of `buffer`. Raises as `array_at` does."""
    values: Array | Text
    if "text" in entry:
        codes = array_at(buffer, entry["codes"], base) if "codes" in entry else None
        values = Text(array_at(buffer, entry["text"][0], base), array_at(buffer, entry["text"][1], base), codes)
    else:
        values = array_at(buffer, entry["values"], base)
    return Column(
        values,
        tuple(array_at(buffer, split, base) for split in entry["splits"]),
        array_at(buffer, entry["valid"], base) if "valid" in entry else None,
        tuple(entry["inner"]),
    )

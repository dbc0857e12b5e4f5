"""Columns in memory: what codecs decode to, transforms see, pools carry and `tfdata/` hands to TensorFlow.

A column is made of plain NumPy arrays only, so that a process pool can lay it into shared memory as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tfpetastorm.schema.memory import ALIGNMENT, Array, empty_aligned

__all__ = ["ALIGNMENT", "Array", "Column", "Columns", "Text", "empty_aligned"]


@dataclass(frozen=True, eq=False)
class Text:
    """Strings or bytes, laid out as Arrow does: item `i` is `data[offsets[i]:offsets[i + 1]]`.

    offsets: int64 `[n + 1]`, not necessarily starting at 0. data: uint8 `[bytes]`. Strings are UTF-8.
    codes: None, or int32 `[rows]` that index the `n` items as a dictionary; then the column has `rows` items.
        Items may repeat, and may be there for no row; null rows index an empty item.
    """

    offsets: Array
    data: Array
    codes: Array | None = None

    def __len__(self) -> int:
        return len(self.codes) if self.codes is not None else len(self.offsets) - 1


@dataclass(frozen=True, eq=False)
class Column:
    """The cells of one field for the rows of one read task.

    values: for numbers, bools, datetime64[unit] and dates (datetime64[D]) an array `[items, *inner]`; for
        strings, bytes and Decimals (as their exact decimal string) a `Text` of `items`. Without `splits`,
        `items` is the number of rows and `inner` the field's whole shape (for `Text`, which is flat, `inner`
        holds it).
    splits: row splits of a ragged field, outermost first, each int64 `[previous length + 1]` starting at 0:
        one for each dimension up to and including the last `None` of the field's shape. `items` is then
        `splits[-1][-1]` and `inner` the fixed dimensions that follow.
    valid: bool `[rows]`, False where the cell is null; None if no cell is. A null cell holds zeros, an empty
        string, or no items: of a ragged field, the fixed sizes before the first `None` of its shape stay, and that
        dimension is 0.
    inner: the trailing fixed shape of each item.
    """

    values: Array | Text
    splits: tuple[Array, ...] = ()
    valid: Array | None = None
    inner: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """The number of rows."""
        if self.splits:
            return len(self.splits[0]) - 1
        if isinstance(self.values, Text):
            return len(self.values) // max(1, int(np.prod(self.inner, dtype=np.int64)))
        return len(self.values)


#: The columns of one read task by field name, all with the same number of rows.
Columns: TypeAlias = Mapping[str, Column]

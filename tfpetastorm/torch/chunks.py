"""What any reader gives, as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfpetastorm.errors import OptionError
from tfpetastorm.schema.columns import Array

#: Rows of a reader that has no columns to give, put together at once.
_ROWS_AT_ONCE = 64

Chunk = dict[str, Array]


def chunks(reader: Any) -> Iterator[Chunk]:
    """The elements of a reader until it ends: columns `[rows, *shape]` by field, of objects where cells are text,
    differ in shape, or are missing.

    Raises OptionError for a reader of n-grams, whose elements have no columns.
    """
    if getattr(reader, "ngram", None) is not None:
        raise OptionError(
            "The loaders take rows, and this reader gives n-grams: use make_dataset(ngram=...) with Keras, or iterate "
            "the reader and put windows together yourself."
        )
    if _gives_columns(reader):
        return _of_columns(reader)
    return _of_batches(reader) if reader.batched_output else _of_rows(reader)


def _gives_columns(reader: Any) -> bool:
    """Whether it, or each reader that it draws from, has columns to give."""
    inner: Sequence[Any] | None = getattr(reader, "readers", None)
    return hasattr(reader, "next_columns") and all(_gives_columns(one) for one in inner or ())


def _of_columns(reader: Any) -> Iterator[Chunk]:
    while True:
        try:
            columns = reader.next_columns()
        except StopIteration:
            return
        if len(next(iter(columns.values()))):
            yield {name: plain(column) for name, column in columns.items()}


def _of_batches(reader: Any) -> Iterator[Chunk]:
    for batch in reader:
        yield {name: plain(column) for name, column in batch._asdict().items()}


def _of_rows(reader: Any) -> Iterator[Chunk]:
    rows: list[Any] = []
    for row in reader:
        rows.append(row)
        if len(rows) == _ROWS_AT_ONCE:
            yield _columns(rows)
            rows = []
    if rows:
        yield _columns(rows)


def _columns(rows: list[Any]) -> Chunk:
    return {name: column_of(cells) for name, cells in zip(rows[0]._fields, zip(*rows, strict=True), strict=True)}


def plain(column: Any) -> Array:
    """A column without a mask, of objects where a cell is masked, then None, or text."""
    if isinstance(column, np.ma.MaskedArray):
        return column_of([None if masked else cell for cell, masked in zip(column.data, _masked(column), strict=True)])
    array = np.asarray(column)
    return array.astype(object) if array.dtype.kind in "SU" else array


def _masked(column: Any) -> Array:
    """bool `[rows]`: which rows are masked, wholly or in part."""
    mask: Array = np.ma.getmaskarray(column)
    return np.asarray(mask.reshape(len(mask), -1).any(1))


def column_of(cells: Sequence[Any]) -> Array:
    """Cells of rows as a column."""
    first = cells[0]
    kinds = {(type(cell), getattr(cell, "dtype", None), getattr(cell, "shape", None)) for cell in cells}
    if len(kinds) == 1 and isinstance(first, (np.ndarray, np.generic, bool, int, float)):
        stacked = np.asarray(cells)
        if stacked.dtype.kind not in "SUO":
            return stacked
    column = np.empty(len(cells), object)
    for row, cell in enumerate(cells):
        column[row] = cell
    return column


def joined(parts: Sequence[Array]) -> Array:
    """Columns of one field, one after another."""
    if len(parts) == 1:
        return parts[0]
    if len({(part.dtype, part.shape[1:]) for part in parts}) == 1:
        return np.concatenate(parts)
    if all(part.ndim == 1 and part.dtype.kind in "SUO" for part in parts):
        return np.concatenate([part.astype(object) for part in parts])
    return column_of([cell for part in parts for cell in part])

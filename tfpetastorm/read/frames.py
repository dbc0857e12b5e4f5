"""Columns as a pandas DataFrame, as petastorm's batch reader gives one to a transform, and back.

Numbers and instants are columns of their own dtype; text, bytes, Decimals and dates (`datetime.date`) objects; a field
with a shape one array a cell. Nulls are NaN, NaT or None, as pandas has them: integers with nulls are float64, or
`Int64` and `UInt64` where a float64 would round one of them; bools with nulls are objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfpetastorm.errors import OptionError, TransformError, describe
from tfpetastorm.read.face import to_face
from tfpetastorm.read.returned import cast, checked_nulls, column_of_cells, spread
from tfpetastorm.schema.columns import Array, Column
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of

#: Beyond this, not every integer is a float64.
_EXACT = 2**53


def import_pandas() -> Any:
    """The module. Raises OptionError where it is not installed."""
    try:
        import pandas as pd
    except ImportError:
        raise OptionError(
            "On batches, a TransformSpec and predicates of your own are given pandas columns, and pandas is not "
            "installed: pip install pandas. A tfpetastorm.Transform, or a ColumnPredicate, on arrays does without."
        ) from None
    return pd


def frame_of(fields: Sequence[UnischemaField], columns: dict[str, Column], rows: int) -> Any:
    """A DataFrame of `rows` rows whose columns are `fields`, in order. Its arrays may be those of `columns`."""
    pd = import_pandas()
    series = {field.name: _series(pd, field, columns[field.name]) for field in fields}
    return pd.DataFrame(series, index=range(rows), copy=False)


def _series(pd: Any, field: UnischemaField, column: Column) -> Any:
    null = None if column.valid is None or bool(column.valid.all()) else ~column.valid
    if field.shape or field.is_text or field.kind == "date":
        cells = _objects(field, column)
        if null is not None:
            cells[null] = None
        return pd.Series(cells, dtype=object)
    values = column.values
    assert isinstance(values, np.ndarray)
    if null is None:
        values = values if values.flags.writeable else values.copy()
    elif values.dtype.kind == "b":
        values = values.astype(object)
        values[null] = None
    elif values.dtype.kind in "iu":
        if values.dtype.itemsize == 8 and len(values) and (values.max() > _EXACT or values.min() < -_EXACT):
            kind = "Int64" if values.dtype.kind == "i" else "UInt64"
            found = pd.Series(pd.array(values, dtype=kind))
            found[null] = pd.NA
            return found
        values = values.astype(np.float64)
        values[null] = np.nan
    else:
        values = values.copy()
        values[null] = np.datetime64("NaT") if values.dtype.kind == "M" else np.nan
    return pd.Series(values, copy=False)


def _objects(field: UnischemaField, column: Column) -> Array:
    """An object array `[rows]` of the cells."""
    if field.is_text and not field.shape:
        return to_face(column, field)
    cells = cells_of(field, column)
    out = np.empty(len(cells), object)
    for i, cell in enumerate(cells):
        if isinstance(cell, np.ndarray) and cell.dtype.kind in "US":
            # As Arrow gives lists of text, and so that a longer string can be put in.
            cell = cell.astype(object)
        out[i] = cell.item() if isinstance(cell, np.datetime64) else cell
    return out


def column_of_series(field: UnischemaField, series: Any, given: Column | None) -> Column:
    """The column of what a transform returned for a field. given: the field's column before, if there was one: of
    floats, NaN is a null where there was one before, and a number elsewhere.

    Raises TransformError where it is not what `field` declares.
    """
    pd = import_pandas()
    rows = np.arange(len(series))
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    dtype = series.dtype
    if not isinstance(dtype, np.dtype):
        absent = series.isna().to_numpy(bool)
        kind = getattr(dtype, "numpy_dtype", None)
        if field.shape or field.is_text or not isinstance(kind, np.dtype) or kind.kind not in "biuf":
            return column_of_cells(field, series.astype(object).tolist(), absent)
        values = series.to_numpy(dtype=kind, na_value=kind.type(0))
    elif dtype.kind in "biufM" and not field.shape and not field.is_text:
        values = series.to_numpy()
        absent = np.zeros(len(values), bool)
        if dtype.kind == "M":
            absent = np.isnat(values)
        elif dtype.kind == "f" and field.dtype.kind == "f":
            if field.nullable and given is not None and given.valid is not None:
                absent = ~given.valid & np.isnan(values)
        elif dtype.kind == "f":
            absent = np.isnan(values)
    else:
        cells = series.tolist()
        nan_is_null = field.shape or field.dtype.kind != "f"
        absent = np.fromiter((_is_null(pd, cell, nan_is_null) for cell in cells), bool, len(cells))
        return column_of_cells(field, cells, absent, whole_floats=True)
    valid = checked_nulls(field, absent)
    if valid is None:
        return spread(field, cast(field, values, rows, whole_floats=True), ~absent, None)
    return spread(field, cast(field, values[valid], rows[valid], whole_floats=True), valid, valid)


def _is_null(pd: Any, cell: Any, nan_is_null: Any) -> bool:
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return True
    return bool(nan_is_null) and isinstance(cell, (float, np.floating)) and bool(cell != cell)


def columns_of_frame(
    frame: Any, after: Sequence[UnischemaField], given: dict[str, Column], dropped: set[str], rows: int
) -> dict[str, Column]:
    """The columns of `after` from the frame that a transform returned. dropped: columns it may have beside them.

    Raises TransformError where it is none, lacks a column, has one that is not declared, or other than `rows` rows.
    """
    pd = import_pandas()
    if not isinstance(frame, pd.DataFrame):
        raise TransformError(
            describe("A transform returned no DataFrame", expected="a pandas.DataFrame", found=type(frame).__name__)
        )
    if len(frame) != rows:
        raise TransformError(
            describe(
                "A transform returned another number of rows",
                expected=rows,
                found=len(frame),
                remedy="A transform keeps every row: leave rows out with a predicate (where=).",
            )
        )
    names = list(frame.columns)
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise TransformError(f"A transform returned columns {twice} more than once.")
    check_names(names, after, dropped)
    return {field.name: column_of_series(field, frame[field.name], given.get(field.name)) for field in after}


def check_names(names: Sequence[Any], after: Sequence[UnischemaField], dropped: set[str]) -> None:
    """Raises TransformError where names lack one of the fields `after`, or have others than these and `dropped`."""
    wanted = [field.name for field in after]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise TransformError(
            describe(
                f"A transform's output lacks the fields {missing}",
                expected=f"{wanted}",
                found=f"{list(names)}",
                remedy="Return them, or name them in removed_fields.",
            )
        )
    undeclared = [name for name in names if name not in wanted and name not in dropped]
    if undeclared:
        raise TransformError(
            describe(
                f"A transform's output has fields {undeclared} that are not declared",
                expected=f"{wanted}",
                found=f"{list(names)}",
                remedy="Declare them in edit_fields, or don't return them.",
            )
        )

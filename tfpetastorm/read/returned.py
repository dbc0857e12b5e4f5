"""Cells that a user's function gave back, as a column: checked against what the field declares, and converted by
column. Values are kept: what a dtype can't hold exactly is an error, but for the rounding of floats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import TransformError, describe
from tfpetastorm.schema.codecs import decode_column, encode_column
from tfpetastorm.schema.codecs.cells import gather
from tfpetastorm.schema.codecs.fit import fits
from tfpetastorm.schema.columns import Array, Column, Text, empty_aligned
from tfpetastorm.schema.dtypes import dtype_name
from tfpetastorm.schema.field import UnischemaField

_TEXT: dict[str, type] = {"text": str, "bytes": bytes, "decimal": Decimal}
_DECLARE = "Declare what the function returns in the transform's edit_fields."


def column_of_cells(field: UnischemaField, cells: Sequence[Any], absent: Array, whole_floats: bool = False) -> Column:
    """A column of the cells of all rows. absent: bool `[rows]`, the rows whose cell is null.

    whole_floats: whether single floats without a fraction are taken for integers, as pandas makes of integers with
    nulls.

    Raises TransformError naming field and row where a cell is not what `field` declares.
    """
    valid = checked_nulls(field, absent)
    present = [cell for cell, null in zip(cells, absent.tolist(), strict=True) if not null] if absent.any() else cells
    rows = np.flatnonzero(~absent)

    def refuse(position: int, expected: object, found: object) -> TransformError:
        return _wrong(field, int(rows[position]), expected, found)

    if not field.shape and field.is_text:
        return Column(_spread_text(_text(field, present, refuse), ~absent), valid=valid)
    if not field.shape:
        return spread(field, cast(field, _scalars(field, present, refuse, whole_floats), rows), ~absent, valid)
    if field.ragged_rank > 1 and any(isinstance(cell, list) for cell in present):
        return _nested(field, cells, absent, refuse)
    arrays = [_array(field, cell, position, refuse) for position, cell in enumerate(present)]
    if field.is_text:
        arrays = [_encoded(field, cell, position, refuse) for position, cell in enumerate(arrays)]
    else:
        arrays = _cast_all(field, arrays, rows)
        if not field.ragged_rank:
            return spread(field, np.stack(arrays) if valid is not None and arrays else arrays, ~absent, valid)
    given: list[Any] = [None] * len(cells)
    for row, cell in zip(rows.tolist(), arrays, strict=True):
        given[row] = cell
    return gather(field, given, valid)


def checked_nulls(field: UnischemaField, absent: Array) -> Array | None:
    """The `valid` of a column. Raises TransformError where a cell is null and the field is not nullable."""
    if not absent.any():
        return None
    if not field.nullable:
        raise TransformError(
            describe(
                f"Row {int(np.argmax(absent))} of field {field.name!r} of a transform's output is null",
                expected=f"{_declared(field)}, not nullable",
                found="None",
                remedy="Declare the field as nullable in the transform's edit_fields, or return a value.",
            )
        )
    return ~absent


def spread(field: UnischemaField, values: Any, present: Array, valid: Array | None) -> Column:
    """The column of fixed shape with `values` (an array, or a list of arrays) in the rows present and zeros elsewhere,
    in one allocation where none was made yet."""
    if valid is None and isinstance(values, np.ndarray) and values.flags.c_contiguous and values.ctypes.data % 64 == 0:
        return Column(values, inner=field.inner_shape)
    out = empty_aligned((len(present), *field.inner_shape), field.dtype)
    if valid is not None:
        out[...] = np.zeros((), field.dtype)
        out[present] = np.asarray(values, field.dtype).reshape(-1, *field.inner_shape)
    elif isinstance(values, list):
        for position, cell in enumerate(values):
            out[position] = cell
    else:
        out[...] = values
    return Column(out, (), valid, field.inner_shape)


def cast(field: UnischemaField, array: Array, rows: Array, whole_floats: bool = False) -> Array:
    """Values in the field's dtype. rows: int64, which row each of the array's first axis is, for errors.

    Raises TransformError where that would change a value by more than a float's rounding, or the kind of value.
    """
    dtype = field.dtype
    if array.dtype == dtype:
        return array
    kinds = array.dtype.kind + dtype.kind
    number = kinds in {"bb", "bi", "bu", "bf", "ii", "iu", "ui", "uu", "if", "uf", "ff", "MM"}
    if not array.size and array.dtype.kind in "fO":
        # What NumPy makes of nothing.
        return array.astype(dtype)
    if not number and not (whole_floats and kinds in ("fi", "fu")):
        raise _wrong(field, int(rows[0]) if len(rows) else None, _declared(field), f"values of {array.dtype}")
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
    if np.can_cast(array.dtype, dtype, "safe") and kinds != "MM":
        return converted
    if dtype.kind == "f":
        wrong = np.isfinite(converted) != np.isfinite(array)
    elif kinds == "MM":
        wrong = (converted.astype(array.dtype) != array) & ~np.isnat(array)
    else:
        # Compared where both are exact: int64 with uint64 would otherwise meet as floats.
        back = converted.astype(array.dtype)
        wrong = (back != array) | ((converted < 0) != (array < 0))
        if array.dtype.kind == "f":
            wrong |= ~np.isfinite(array) | (np.abs(array) >= 2.0**63)
    if wrong.any():
        first = tuple(int(index[0]) for index in np.nonzero(wrong))
        raise _wrong(field, int(rows[first[0]]), _declared(field), f"{array[first]!r}")
    return converted


def _cast_all(field: UnischemaField, arrays: list[Array], rows: Array) -> list[Array]:
    if all(array.dtype == field.dtype for array in arrays):
        return arrays
    return [cast(field, array, rows[i : i + 1].repeat(len(array))) for i, array in enumerate(arrays)]


_Refuse = Callable[[int, object, object], TransformError]


def _scalars(field: UnischemaField, cells: Sequence[Any], refuse: _Refuse, whole_floats: bool) -> Array:
    """The cells as one array of whichever dtype holds them, which may yet be too wide."""
    if field.kind in ("datetime", "date"):
        return _times(field, cells, refuse)
    types = set(map(type, cells))
    if len(types) == 1:
        (kind,) = types
        if kind in (bool, float) or (issubclass(kind, np.generic) and np.dtype(kind).kind in "biuf"):
            array = np.array(cells, kind)
            if array.dtype.kind != "f" or field.dtype.kind == "f":
                return array
    wanted: tuple[type, ...] = (bool, np.bool_)
    if field.dtype.kind != "b":
        wanted = (*wanted, int, float, np.integer, np.floating)
    plain = [cell[()] if isinstance(cell, np.ndarray) and not cell.shape else cell for cell in cells]
    integers = field.dtype.kind in "iu"
    for position, cell in enumerate(plain):
        if not isinstance(cell, wanted):
            raise refuse(position, _declared(field), _told(cell))
        if integers and isinstance(cell, (float, np.floating)) and not (whole_floats and float(cell).is_integer()):
            raise refuse(position, _declared(field), _told(cell))
    if not integers:
        return np.array(plain, np.float64 if field.dtype.kind == "f" else np.bool_)
    # Python's integers, so that none meets another as a float.
    plain = list(map(int, plain))
    low, high = np.iinfo(field.dtype).min, np.iinfo(field.dtype).max
    for position, cell in enumerate(plain):
        if not low <= cell <= high:
            raise refuse(position, _declared(field), _told(cell))
    return np.array(plain, field.dtype)


def _times(field: UnischemaField, cells: Sequence[Any], refuse: _Refuse) -> Array:
    """Instants or dates: NumPy's, Python's or pandas' own."""
    if len({cell.dtype if isinstance(cell, np.datetime64) else None for cell in cells} - {field.dtype}) == 0:
        return np.array(cells, field.dtype)
    out = np.empty(len(cells), field.dtype)
    for position, cell in enumerate(cells):
        cell = cell[()] if isinstance(cell, np.ndarray) and not cell.shape else cell
        value = cell.to_datetime64() if hasattr(cell, "to_datetime64") else cell
        try:
            found = np.datetime64(value) if not isinstance(value, (int, float, str)) else None  # type: ignore[arg-type]
        except (TypeError, ValueError):
            found = None
        if found is None:
            raise refuse(position, _declared(field), _told(cell))
        out[position : position + 1] = cast(field, found.reshape(1), np.array([position]))
    return out


def _text(field: UnischemaField, cells: Sequence[Any], refuse: _Refuse) -> Text:
    kind = _TEXT[field.kind]
    if not all(issubclass(found, kind) for found in set(map(type, cells))):
        position = next(i for i, cell in enumerate(cells) if not isinstance(cell, kind))
        raise refuse(position, _declared(field), _told(cells[position]))
    if field.kind == "decimal":
        for position, cell in enumerate(cells):
            if not cell.is_finite():
                raise refuse(position, "a finite Decimal", cell)
        cells = list(map(str, cells))
    try:
        array = pa.array(cells, pa.large_binary() if field.kind == "bytes" else pa.large_string())
    except UnicodeError as error:
        raise TransformError(
            describe(f"Field {field.name!r} of a transform's output is not text: {error}", remedy="Return valid str.")
        ) from error
    _, offsets, data = array.buffers()
    return Text(
        np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8) if len(array) else np.zeros(1, np.int64),
        np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8),
    )


def _spread_text(text: Text, present: Array) -> Text:
    """The items in the rows present, and empty ones elsewhere."""
    if present.all():
        return text
    lengths = np.zeros(len(present), np.int64)
    lengths[present] = np.diff(text.offsets)
    return Text(np.concatenate([text.offsets[:1], text.offsets[0] + np.cumsum(lengths)]), text.data)


def _array(field: UnischemaField, cell: Any, position: int, refuse: _Refuse) -> Array:
    try:
        array = np.asarray(cell, object if field.kind == "decimal" else None)
    except ValueError:
        raise refuse(position, _declared(field), f"a ragged {type(cell).__name__}") from None
    if not fits(field, array.shape):
        raise refuse(position, _declared(field), f"{array.dtype} of shape {array.shape}")
    if array.dtype.kind == "O" and field.kind == "date":
        array = _times(field, array.reshape(-1).tolist(), refuse).reshape(array.shape)
    return array


def _encoded(field: UnischemaField, array: Array, position: int, refuse: _Refuse) -> Array:
    """An object array of bytes, as `gather` takes it."""
    kind = _TEXT[field.kind]
    items = array.reshape(-1).tolist()
    for item in items:
        if not isinstance(item, kind):
            raise refuse(position, f"items of {kind.__name__}", _told(item))
    encoded = np.empty(len(items), object)
    encoded[:] = items if kind is bytes else [str(item).encode() for item in items]
    return encoded.reshape(array.shape)


def _nested(field: UnischemaField, cells: Sequence[Any], absent: Array, refuse: _Refuse) -> Column:
    """Lists of different lengths: by way of Arrow, which alone knows them."""
    plain = UnischemaField(field.name, field.numpy_dtype, field.shape, None, field.nullable)
    given = [None if null else cell for cell, null in zip(cells, absent.tolist(), strict=True)]
    try:
        return decode_column(plain, encode_column(plain, given), _never)
    except (ValueError, TypeError) as error:
        raise refuse(0, _declared(field), f"lists of another kind ({error})") from error


def _never(row: int, reason: str) -> None:
    raise ValueError(f"row {row}: {reason}")


def _declared(field: UnischemaField) -> str:
    name = dtype_name(field.numpy_dtype)
    return f"{name} of shape {field.shape}" if field.shape else name


def _told(value: Any) -> str:
    return "None" if value is None else f"{type(value).__name__} {value!r:.60}"


def _wrong(field: UnischemaField, row: int | None, expected: object, found: object) -> TransformError:
    where = "" if row is None else f"Row {row} of field" if row >= 0 else "Field"
    return TransformError(
        describe(
            f"{where or 'Field'} {field.name!r} of a transform's output is not what is declared",
            expected=expected,
            found=found,
            remedy=_DECLARE,
        )
    )

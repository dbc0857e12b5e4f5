"""What a user's function is given of a DataFrame, and what it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import DamagedDataError, Place, SchemaError, TransformError, describe
from tfpetastorm.schema.arrow import infer_schema
from tfpetastorm.schema.codecs import decode_column
from tfpetastorm.schema.codecs.lists import is_list
from tfpetastorm.schema.rows import cells_of


def columns_for(names: Sequence[str], arrays: Sequence[pa.Array]) -> dict[str, Any]:
    """Columns of these names as NumPy arrays `[rows]`: of their own dtype where nothing is null, else of objects.

    Objects are what rows hold elsewhere: str, bytes, Decimal, arrays for lists, and None; dicts for structs and maps.
    """
    return {name: _column(name, array) for name, array in zip(names, arrays, strict=True)}


def _column(name: str, array: pa.Array) -> Any:
    if not pa.types.is_struct(array.type):
        try:
            field = infer_schema(pa.schema([pa.field("column", array.type)])).schema.fields["column"]
            column = decode_column(field, array, _refuse)
        except (SchemaError, DamagedDataError):
            # Maps and the like, and lists with nulls inside.
            cells = array.to_pylist()
            return _objects([_objects(cell) for cell in cells] if is_list(array.type) else cells)
        if isinstance(column.values, np.ndarray) and column.valid is None and not field.shape:
            return column.values
        return _objects(cells_of(field, column))
    return _objects(array.to_pylist())


def _refuse(row: int, reason: str) -> None:
    raise DamagedDataError(f"row {row}: {reason}")


def _objects(cells: list[Any] | None) -> Any:
    if cells is None:
        return None
    made = np.empty(len(cells), object)
    made[:] = cells
    return made


def results_of(
    generate: Callable[[dict[str, Any]], Any], columns: dict[str, Any], where: str
) -> Iterator[Mapping[str, Any]]:
    """What `generate` makes of some columns, one dict of columns or several. where: which rows, for errors.

    Raises TransformError for what it raises, and for anything but dicts.
    """
    try:
        made = generate(columns)
        results = iter([made] if isinstance(made, Mapping) else made)
        while True:
            result = next(results, None)
            if result is None:
                return
            if not isinstance(result, Mapping):
                raise TypeError(f"expected a dict of columns, or several, found {type(result).__name__}")
            yield {str(name): _sequence(name, cells) for name, cells in result.items()}
    except GeneratorExit:
        raise
    except Exception as error:
        raise TransformError(
            describe(f"generate failed for {where}: {type(error).__name__}: {error}".rstrip("."))
        ) from error


def _sequence(name: object, cells: Any) -> Any:
    if isinstance(cells, (pa.Array, pa.ChunkedArray, list, tuple)) or (isinstance(cells, np.ndarray) and cells.ndim):
        return cells
    try:
        return list(cells)
    except TypeError:
        place = Place(field=str(name))
        raise TypeError(
            describe("a column is no sequence", place, expected="an array or list", found=repr(cells))
        ) from None

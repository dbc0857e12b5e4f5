"""What a DataFrame's columns become before they are stored: vectors arrays, floats of one precision."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from tfpetastorm.errors import DatasetWarning, OptionError

#: Spark's names of the types that our readers have fields for; structs are taken apart, and arrays are lists.
_READABLE = {
    "boolean", "byte", "short", "integer", "long", "float", "double", "string", "binary", "date", "timestamp",
    "timestamp_ntz", "tinyint", "smallint", "int", "bigint", "char", "varchar",
}  # fmt: skip
#: What Parquet has no type for, so that Spark stores their numbers, which is what readers see.
_INTERVALS = {"daytimeinterval": "microseconds", "yearmonthinterval": "months"}


def check_dtype(dtype: Any) -> None:
    """Raises OptionError for what is none of None, "float32" and "float64"."""
    if dtype not in (None, "float32", "float64"):
        # Petastorm's own message has these blanks, and its tests want them.
        blanks = " " * 13
        raise OptionError(
            f"dtype {dtype} is not supported.{blanks}Use 'float32' or float64, or None to keep each as is."
        )


def warn_of_loss(df: Any, dtype: str | None, stacklevel: int = 2) -> None:
    """Warns if columns of doubles will be stored as floats of 32 bits."""
    if dtype != "float32":
        return
    lost = [field.name for field in df.schema.fields if is_vector(field.dataType) or _holds(field.dataType, "double")]
    if lost:
        warnings.warn(
            f"Precision is lost: float64 becomes float32 in {_listed(lost)}. dtype=None keeps every column's own, and "
            "dtype='float64' makes all float64.",
            DatasetWarning,
            stacklevel=stacklevel + 1,
        )


def warn_of_left_out(df: Any, stacklevel: int = 2) -> None:
    """Warns of columns, and members of structs, that readers have no field for: maps, and lists of structs. Also of
    intervals, which are read as numbers."""
    lost = [name for field in df.schema.fields for name in _unreadable(field.name, field.dataType)]
    if lost:
        warnings.warn(
            f"Columns that no reader has a field for are left out when the data is read: {_listed(lost)}. Select what "
            "they hold as columns of their own before the conversion.",
            DatasetWarning,
            stacklevel=stacklevel + 1,
        )
    for kind, unit in _INTERVALS.items():
        numbers = [field.name for field in df.schema.fields if _holds(field.dataType, kind)]
        if numbers:
            warnings.warn(
                f"Intervals are read as whole numbers of {unit}: {_listed(numbers)}.",
                DatasetWarning,
                stacklevel=stacklevel + 1,
            )


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")


def with_arrays(df: Any, dtype: str | None) -> Any:
    """The DataFrame with ML vectors, of both kinds and in arrays and structs too, as arrays: of float64, unless dtype
    says float32. A null stays one."""
    columns = {
        field.name: _as_arrays(_column(df, field.name), field.dataType, dtype or "float64")
        for field in df.schema.fields
        if _any(field.dataType, is_vector)
    }
    return _replaced(df, columns)


def with_precision(df: Any, dtype: str | None) -> Any:
    """The DataFrame with all floats, in arrays, maps and structs too, in one precision; None keeps each its own."""
    if dtype is None:
        return df
    other = "double" if dtype == "float32" else "float"
    columns = {
        field.name: _column(df, field.name).cast(_cast(field.dataType, dtype))
        for field in df.schema.fields
        if _holds(field.dataType, other)
    }
    return _replaced(df, columns)


def is_vector(kind: Any) -> bool:
    """Whether a Spark type is the vector of `pyspark.ml` or of `pyspark.mllib`."""
    return type(kind).__name__ == "VectorUDT"


def _holds(kind: Any, name: str) -> bool:
    """Whether a type is that of this name, or holds one, however deep."""
    return _any(kind, lambda part: bool(part.typeName() == name))


def _any(kind: Any, test: Callable[[Any], bool]) -> bool:
    return test(kind) or any(_any(part, test) for part in _parts(kind))


def _parts(kind: Any) -> list[Any]:
    """The types that a type is made of."""
    name = kind.typeName()
    if name == "array":
        return [kind.elementType]
    if name == "map":
        return [kind.keyType, kind.valueType]
    return [field.dataType for field in kind.fields] if name == "struct" else []


def _unreadable(name: str, kind: Any) -> list[str]:
    if kind.typeName() == "struct":
        return [lost for field in kind.fields for lost in _unreadable(f"{name}.{field.name}", field.dataType)]
    while kind.typeName() == "array":
        kind = kind.elementType
        if kind.typeName() == "struct":
            return [name]
    known = is_vector(kind) or kind.typeName() in _READABLE | set(_INTERVALS) or kind.typeName().startswith("decimal")
    return [] if known else [name]


def _cast(kind: Any, dtype: str) -> Any:
    from pyspark.sql import types as spark

    name = kind.typeName()
    if name == "array":
        return spark.ArrayType(_cast(kind.elementType, dtype), kind.containsNull)
    if name == "map":
        # Keys stay as they are: two of them could become one.
        return spark.MapType(kind.keyType, _cast(kind.valueType, dtype), kind.valueContainsNull)
    if name == "struct":
        parts = [spark.StructField(part.name, _cast(part.dataType, dtype), part.nullable) for part in kind.fields]
        return spark.StructType(parts)
    if name in ("float", "double"):
        return spark.FloatType() if dtype == "float32" else spark.DoubleType()
    return kind


def _as_arrays(column: Any, kind: Any, dtype: str) -> Any:
    """A column of this type, in which each vector becomes an array."""
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions

    if is_vector(kind):
        # Spark's own function fails on a null.
        return functions.when(column.isNotNull(), vector_to_array(column, dtype))
    if kind.typeName() == "array" and _any(kind, is_vector):
        return functions.transform(column, lambda item: _as_arrays(item, kind.elementType, dtype))
    if kind.typeName() == "struct" and _any(kind, is_vector):
        parts = [_as_arrays(column.getField(part.name), part.dataType, dtype).alias(part.name) for part in kind.fields]
        return functions.when(column.isNotNull(), functions.struct(*parts))
    return column


def _column(df: Any, name: str) -> Any:
    """A column by its whole name, whatever characters that has."""
    return df["`" + name.replace("`", "``") + "`"]


def _replaced(df: Any, columns: dict[str, Any]) -> Any:
    """The DataFrame with some columns replaced, in the order it had. Nothing else of it changes."""
    if not columns:
        return df
    names = [field.name for field in df.schema.fields]
    return df.select(*(columns[name].alias(name) if name in columns else _column(df, name) for name in names))

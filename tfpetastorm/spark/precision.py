"""What a DataFrame's columns become before they are stored: vectors arrays, floats of one precision."""

from __future__ import annotations

import warnings
from typing import Any

from tfpetastorm.errors import DatasetWarning, OptionError


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
        shown = ", ".join(map(repr, lost[:5])) + (", …" if len(lost) > 5 else "")
        warnings.warn(
            f"Precision is lost: float64 becomes float32 in {shown}. dtype=None keeps every column's own, and "
            "dtype='float64' makes all float64.",
            DatasetWarning,
            stacklevel=stacklevel + 1,
        )


def with_arrays(df: Any, dtype: str | None) -> Any:
    """The DataFrame with ML vectors, of both kinds, as arrays: of float64, unless dtype says float32."""
    from pyspark.ml.functions import vector_to_array

    columns = {
        field.name: vector_to_array(_column(df, field.name), dtype or "float64")
        for field in df.schema.fields
        if is_vector(field.dataType)
    }
    return _replaced(df, columns)


def with_precision(df: Any, dtype: str | None) -> Any:
    """The DataFrame with all columns of floats, and of arrays of them, in one precision; None keeps each its own."""
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
    """Whether a type is that of this name, or an array of it, however nested."""
    while kind.typeName() == "array":
        kind = kind.elementType
    return bool(kind.typeName() == name)


def _cast(kind: Any, dtype: str) -> Any:
    from pyspark.sql.types import ArrayType, DoubleType, FloatType

    if kind.typeName() == "array":
        return ArrayType(_cast(kind.elementType, dtype), kind.containsNull)
    return FloatType() if dtype == "float32" else DoubleType()


def _column(df: Any, name: str) -> Any:
    """A column by its whole name, whatever characters that has."""
    return df["`" + name.replace("`", "``") + "`"]


def _replaced(df: Any, columns: dict[str, Any]) -> Any:
    """The DataFrame with some columns replaced, in the order it had. Nothing else of it changes."""
    if not columns:
        return df
    names = [field.name for field in df.schema.fields]
    return df.select(*(columns[name].alias(name) if name in columns else _column(df, name) for name in names))

"""The Spark types that fields have in a DataFrame of encoded rows. pyspark is imported only here, when asked."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

from tfpetastorm.errors import MissingPackageError, Place, SchemaError, describe

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField
    from tfpetastorm.schema.unischema import Unischema

#: By the name of an Arrow type (`ScalarCodec.storage`): what Spark stores so. Unsigned integers take the next wider.
_BY_STORAGE = {
    "int8": "ByteType", "uint8": "ShortType", "int16": "ShortType", "uint16": "IntegerType", "int32": "IntegerType",
    "uint32": "LongType", "int64": "LongType", "float16": "FloatType", "float32": "FloatType", "float64": "DoubleType",
    "bool": "BooleanType", "string": "StringType", "large_string": "StringType", "binary": "BinaryType",
    "large_binary": "BinaryType", "date32": "DateType", "date64": "DateType",
}  # fmt: skip
#: Arrow prints some types under other names.
_ARROW_NAMES = {"halffloat": "float16", "float": "float32", "double": "float64",
                "date32[day]": "date32", "date64[ms]": "date64"}  # fmt: skip
_DECIMAL = re.compile(r"decimal\d*\((\d+), (-?\d+)\)")


def spark_types() -> Any:
    """The module `pyspark.sql.types`. Raises MissingPackageError saying what to install."""
    try:
        return importlib.import_module("pyspark.sql.types")
    except ImportError as error:
        raise MissingPackageError(f"Spark types need pyspark ({error}): pip install 'tfpetastorm[spark]'.") from None


def spark_type_name(storage: str) -> str | None:
    """How Spark's type for an Arrow type is written, "DecimalType(10, 9)"; None if it has none."""
    if match := _DECIMAL.fullmatch(storage):
        return f"DecimalType({match[1]}, {match[2]})"
    if storage.startswith("timestamp["):
        return "TimestampType()"
    return f"{_BY_STORAGE[storage]}()" if storage in _BY_STORAGE else None


def spark_type_of_storage(storage: str) -> Any:
    """The Spark type for an Arrow type's name. Raises SchemaError if there is none."""
    written = spark_type_name(_ARROW_NAMES.get(storage, storage))
    if written is None:
        raise SchemaError(f"Was not able to map type {storage} to a spark type.")
    name, _, arguments = written.rstrip(")").partition("(")
    return getattr(spark_types(), name)(*(int(part) for part in arguments.split(",") if part))


def spark_type(field: UnischemaField) -> Any:
    """The Spark type of the column that holds `field`, as petastorm has it.

    Text and bytes without a codec are both strings, as in petastorm: a ScalarCodec(BinaryType()) stores any bytes.
    Raises SchemaError if there is none.
    """
    if field.codec is not None:
        return field.codec.spark_dtype(field)
    if field.shape:
        raise SchemaError(
            describe(
                "A field that is no scalar has codec set to None, so Spark has no type for it",
                Place(field=field.name),
                expected="a codec",
                found=f"shape {field.shape}",
                remedy="Give it NdarrayCodec().",
            )
        )
    try:
        if field.is_text:
            return spark_type_of_storage("decimal128(38, 18)" if field.kind == "decimal" else "string")
        named = {"date": "date32", "datetime": f"timestamp[{field.dtype}]"}
        return spark_type_of_storage(named.get(field.kind, field.dtype.name))
    except SchemaError as error:
        found = repr(field.numpy_dtype)
        raise SchemaError(
            f"Was not able to map type {found} of field {field.name!r} to a spark type: {error}"
        ) from None


def spark_schema(schema: Unischema) -> Any:
    """The StructType of a DataFrame of encoded rows."""
    types = spark_types()
    return types.StructType([types.StructField(field.name, spark_type(field), field.nullable) for field in schema])

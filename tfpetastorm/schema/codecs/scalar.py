"""ScalarCodec: a scalar stored as a type other than its own, as petastorm's users declare them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from tfpetastorm.errors import Place, SchemaError, describe
from tfpetastorm.schema.codecs.base import Cells, Codec, Limits, OnBad
from tfpetastorm.schema.codecs.native import (
    DEFAULT_DECIMAL,
    decode_native,
    encode_native,
    native_scalar_type,
)
from tfpetastorm.schema.codecs.single import decode_scalar_cell, encode_scalar_cell
from tfpetastorm.schema.columns import Column
from tfpetastorm.schema.spark_types import spark_type_name, spark_type_of_storage

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField

#: How Spark stores its types in Parquet (petastorm's ScalarCodec is given one of them).
SPARK_TYPES = {
    "ByteType": "int8", "ShortType": "int16", "IntegerType": "int32", "LongType": "int64", "FloatType": "float32",
    "DoubleType": "float64", "BooleanType": "bool", "StringType": "string", "VarcharType": "string",
    "CharType": "string", "BinaryType": "binary", "DateType": "date32", "TimestampType": "timestamp[us]",
    "TimestampNTZType": "timestamp[us]",
}  # fmt: skip

_NAMES = {
    "int8": pa.int8, "int16": pa.int16, "int32": pa.int32, "int64": pa.int64, "uint8": pa.uint8, "uint16": pa.uint16,
    "uint32": pa.uint32, "uint64": pa.uint64, "float16": pa.float16, "float32": pa.float32, "float64": pa.float64,
    "bool": pa.bool_, "string": pa.string, "large_string": pa.large_string, "binary": pa.binary,
    "large_binary": pa.large_binary, "date32": pa.date32, "date64": pa.date64,
}  # fmt: skip
_ALIASES = {"halffloat": "float16", "float": "float32", "double": "float64", "utf8": "string", "str": "string",
            "date32[day]": "date32", "date64[ms]": "date64"}  # fmt: skip
_DECIMAL = re.compile(r"decimal(128|256)?\((\d+),\s*(-?\d+)\)")
_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns)(?:,\s*tz=([^\]]+))?\]")


@dataclass(frozen=True)
class ScalarCodec(Codec):
    """A scalar stored as `storage`; values are checked against it when written.

    storage: an Arrow type, its name ("int16", "decimal128(10, 2)", "timestamp[us]"), or an instance of a
    pyspark.sql type, which is known by its class name alone. None is the field's own Arrow type.
    Kept as the name. Raises SchemaError for a type that can't hold scalars.
    """

    codec_name: ClassVar[str] = "scalar"

    storage: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "storage", None if self.storage is None else _storage_name(self.storage))

    def check(self, field: UnischemaField) -> None:
        """Raise SchemaError if this codec can't hold `field`."""
        place = Place(field=field.name)
        if field.shape:
            raise SchemaError(
                describe(
                    "ScalarCodec holds scalars only",
                    place,
                    expected="shape ()",
                    found=field.shape,
                    remedy="Use NdarrayCodec, or no codec for an Arrow list.",
                )
            )
        if not _compatible(field, self.arrow_type(field)):
            raise SchemaError(
                describe(
                    "ScalarCodec can't hold this field",
                    place,
                    expected=f"a storage for {native_scalar_type(field)}",
                    found=self.storage,
                )
            )

    def arrow_type(self, field: UnischemaField) -> pa.DataType:
        """The Arrow type of the column that holds `field`."""
        return native_scalar_type(field) if self.storage is None else storage_type(self.storage)

    def encode(self, field: UnischemaField, value: Any) -> Any:
        """One cell as Spark is handed it: an int, float, bool, str, bytes or Decimal, or what else was given.

        Raises TypeError for what is no scalar, BadCellError for a value that is not the field's. Whether the storage
        holds it is checked where it is stored.
        """
        return encode_scalar_cell(field, value, self.arrow_type(field))

    def decode(self, field: UnischemaField, value: Any) -> Any:
        """The NumPy scalar, `np.str_`, `np.bytes_` or Decimal of one stored cell. Raises BadCellError for another's."""
        return decode_scalar_cell(field, value)

    def spark_dtype(self, field: UnischemaField | None = None) -> Any:
        """The Spark type of the column. Raises SchemaError if Spark has none."""
        if self.storage is None and field is None:
            raise SchemaError("ScalarCodec() is stored as its field is: spark_dtype(field) tells its Spark type.")
        return spark_type_of_storage(str(self.arrow_type(field)) if field is not None else self.storage)

    def __str__(self) -> str:
        written = spark_type_name(self.storage) if self.storage else None
        return f"ScalarCodec({written})" if written else repr(self)

    def encode_column(self, field: UnischemaField, values: Cells) -> pa.Array:
        """All cells of one column, None for null. Raises EncodeError naming field and row."""
        return encode_native(field, values, self.arrow_type(field))

    def decode_column(self, field: UnischemaField, array: pa.Array, on_bad: OnBad, *, limits: Limits) -> Column:
        """All rows of one column; `on_bad` hears of each cell that can't be decoded."""
        return decode_native(field, array, on_bad)


def storage_type(name: str) -> pa.DataType:
    """The Arrow type that a storage name stands for. Raises SchemaError if there is none."""
    name = _ALIASES.get(name, name)
    if name in _NAMES:
        return _NAMES[name]()
    if match := _DECIMAL.fullmatch(name):
        precision, scale = int(match[2]), int(match[3])
        wide = match[1] == "256" or precision > 38
        try:
            return pa.decimal256(precision, scale) if wide else pa.decimal128(precision, scale)
        except ValueError as error:
            raise SchemaError(f"{name!r} is not a storage for scalars: {error}.") from None
    if match := _TIMESTAMP.fullmatch(name):
        return pa.timestamp(match[1], tz=match[2])
    raise SchemaError(
        describe(
            "Not a storage for scalars",
            expected=f"one of {', '.join(_NAMES)}, decimal128(p, s), timestamp[unit]",
            found=repr(name),
        )
    )


def _named(storage: pa.DataType) -> str:
    """The one name of a storage type; Arrow prints some types under others."""
    return _ALIASES.get(str(storage), str(storage))


def _storage_name(storage: Any) -> str:
    if isinstance(storage, str):
        return _named(storage_type(SPARK_TYPES.get(storage, storage)))
    if isinstance(storage, pa.DataType):
        return _named(storage_type(str(storage)))
    name = type(storage).__name__
    if name == "DecimalType":
        precision, scale = getattr(storage, "precision", 10), getattr(storage, "scale", 0)
        return _named(storage_type(f"decimal128({precision}, {scale})"))
    if name in SPARK_TYPES:
        return _named(storage_type(SPARK_TYPES[name]))
    raise SchemaError(
        describe(
            "Not a storage for scalars",
            expected="an Arrow type, its name, or an instance of a pyspark.sql type",
            found=repr(storage),
            remedy="Spark types are given as instances: LongType(), not LongType."
            if isinstance(storage, type)
            else None,
        )
    )


def _compatible(field: UnischemaField, storage: pa.DataType) -> bool:
    types = pa.types
    textual = types.is_string(storage) or types.is_large_string(storage)
    binary = types.is_binary(storage) or types.is_large_binary(storage)
    if field.kind == "text" or field.kind == "bytes":
        return bool(textual or binary)
    if field.kind == "decimal":
        return bool(types.is_decimal(storage) or textual)
    if field.kind == "datetime":
        return bool(types.is_timestamp(storage) or types.is_date(storage))
    if field.kind == "date":
        return bool(types.is_date(storage) or types.is_timestamp(storage))
    if field.dtype.kind == "b":
        return bool(types.is_boolean(storage) or types.is_integer(storage))
    if field.dtype.kind == "f":
        return bool(types.is_floating(storage) or types.is_integer(storage) or types.is_decimal(storage))
    return bool(types.is_integer(storage) or types.is_floating(storage) or types.is_boolean(storage))


__all__ = ["DEFAULT_DECIMAL", "SPARK_TYPES", "ScalarCodec", "storage_type"]

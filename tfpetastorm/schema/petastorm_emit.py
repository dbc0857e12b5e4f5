"""A Unischema as the pickle that petastorm 0.4 and later reads, emitted opcode by opcode (protocol 2).

Neither petastorm nor pyspark is needed to write it; petastorm needs pyspark to read fields stored by a ScalarCodec.
"""

from __future__ import annotations

import keyword
import struct
from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import SchemaError, describe
from tfpetastorm.schema.codecs import arrow_type
from tfpetastorm.schema.codecs.compressed import CompressedNdarrayCodec
from tfpetastorm.schema.codecs.image import CompressedImageCodec
from tfpetastorm.schema.codecs.ndarray import NdarrayCodec
from tfpetastorm.schema.codecs.scalar import ScalarCodec
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema

# What petastorm's own class has: an attribute for a field of such a name would hide it.
_METHODS = frozenset(
    {"fields", "create_schema_view", "as_spark_schema", "make_namedtuple", "make_namedtuple_tf", "from_arrow_schema"}
)
_SPARK_BY_STORAGE = {
    pa.int8(): "ByteType", pa.int16(): "ShortType", pa.int32(): "IntegerType", pa.int64(): "LongType",
    pa.float32(): "FloatType", pa.float64(): "DoubleType", pa.bool_(): "BooleanType", pa.string(): "StringType",
    pa.large_string(): "StringType", pa.binary(): "BinaryType", pa.large_binary(): "BinaryType",
    pa.date32(): "DateType",
}  # fmt: skip


def can_express(schema: Unischema) -> list[str]:
    """Why petastorm could not read a dataset of this schema: one sentence a field concerned; empty if it can."""
    reasons = []
    for field in schema:
        reason = _inexpressible(field)
        if reason:
            reasons.append(f"{field.name}: {reason}")
    return reasons


def _inexpressible(field: UnischemaField) -> str | None:
    codec = field.codec
    if not field.name.isidentifier() or keyword.iskeyword(field.name) or field.name.startswith("_"):
        return "petastorm needs names that a namedtuple can have"
    if codec is None and field.shape:
        return "petastorm has no Arrow lists in its schemas"
    if isinstance(codec, (NdarrayCodec, CompressedNdarrayCodec)):
        return None
    if isinstance(codec, CompressedImageCodec):
        if codec.channel_order != "rgb":
            return "petastorm would swap the channels of its images"
        if len(field.shape) == 3 and field.shape[2] != 3:
            return "petastorm's images have the shape (H, W) or (H, W, 3)"
        return None
    if codec is not None and not isinstance(codec, ScalarCodec):
        return f"petastorm has no {type(codec).__name__}"
    storage = arrow_type(field)
    if pa.types.is_float16(storage):
        return "petastorm's pyarrow reads no 16-bit floats from Parquet"
    if pa.types.is_decimal256(storage):
        return "petastorm reads decimals of at most 38 digits"
    if pa.types.is_timestamp(storage) and storage.tz is not None:
        return "petastorm reads no timestamps with a time zone"
    if pa.types.is_timestamp(storage) and storage.unit == "ns":
        return "petastorm reads instants to the microsecond only (ScalarCodec('timestamp[us]') stores them so)"
    return None


def write_pickled_schema(schema: Unischema) -> bytes:
    """The pickle that petastorm keeps under `dataset-toolkit.unischema.v1`.

    Raises SchemaError if petastorm could not read the dataset; `can_express` says why without raising.
    """
    reasons = can_express(schema)
    if reasons:
        raise SchemaError(describe("petastorm can't read this schema: " + "; ".join(reasons)))
    names = list(schema.fields)
    out = [b"\x80\x02", _global("petastorm.unischema", "Unischema"), b")\x81}("]
    out += [_text("_name"), _text(schema.schema_name), _text("_fields"), _global("collections", "OrderedDict"), b")R("]
    for position, field in enumerate(schema):
        # Memoised, since petastorm's object has each field as an attribute too.
        out += [_text(field.name), _field(field), b"r" + struct.pack("<I", position)]
    out.append(b"u")
    for position, name in enumerate(names):
        if name not in _METHODS:
            out += [_text(name), b"j" + struct.pack("<I", position)]
    return b"".join([*out, b"ub."])


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _integer(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def _field(field: UnischemaField) -> bytes:
    shape = b"".join(b"N" if size is None else _integer(size) for size in field.shape)
    return b"".join(
        [
            _global("petastorm.unischema", "UnischemaField"),
            b"(",
            _text(field.name),
            _element(field),
            b"(" + shape + b"t",
            _codec(field),
            b"\x88" if field.nullable else b"\x89",
            b"t\x81",
        ]
    )


def _element(field: UnischemaField) -> bytes:
    if field.kind == "decimal":
        return _global("decimal", "Decimal")
    if field.kind in ("datetime", "date"):
        return _global("numpy", "datetime64")
    if field.kind in ("text", "bytes"):
        return _global("numpy", "str_" if field.kind == "text" else "bytes_")
    # NumPy 1 has no `numpy.bool`.
    return _global("numpy", "bool_" if field.dtype == np.bool_ else field.dtype.name)


def _codec(field: UnischemaField) -> bytes:
    codec = field.codec
    if isinstance(codec, NdarrayCodec):
        return _object("petastorm.codecs", "NdarrayCodec")
    if isinstance(codec, CompressedNdarrayCodec):
        return _object("petastorm.codecs", "CompressedNdarrayCodec")
    if isinstance(codec, CompressedImageCodec):
        state = _text("_image_codec") + _text(f".{codec.image_codec}") + _text("_quality") + _integer(codec.quality)
        return _object("petastorm.codecs", "CompressedImageCodec", state)
    spark = _spark_type(field)
    if spark is None:
        return b"N"
    return _object("petastorm.codecs", "ScalarCodec", _text("_spark_type") + spark)


def _object(module: str, name: str, state: Any = None) -> bytes:
    made = _global(module, name) + b")\x81"
    return made if state is None else made + b"}(" + state + b"ub"


def _spark_type(field: UnischemaField) -> bytes | None:
    """The Spark type to declare; None where petastorm reads the column without a codec, and so without pyspark."""
    storage = arrow_type(field)
    if pa.types.is_decimal128(storage):
        state = _text("precision") + _integer(storage.precision) + _text("scale") + _integer(storage.scale)
        return _object("pyspark.sql.types", "DecimalType", state + _text("hasPrecisionInfo") + b"\x88")
    if pa.types.is_timestamp(storage):
        return _object("pyspark.sql.types", "TimestampType")
    if pa.types.is_date(storage):
        return _object("pyspark.sql.types", "DateType")
    if field.codec is None or storage not in _SPARK_BY_STORAGE:
        return None
    return _object("pyspark.sql.types", _SPARK_BY_STORAGE[storage])

"""petastorm's pickled Unischema, read without unpickling, for every version since 0.2.

What versions wrote: `petastorm.unischema.Unischema` with `_name` and `_fields` (also under two older package names);
fields as tuples in one of three spellings, which `petastorm_symbols` makes alike; codecs as plain objects.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from tfpetastorm.errors import SchemaError, UnsafeDataError, describe
from tfpetastorm.schema.codecs import (
    CompressedImageCodec,
    CompressedNdarrayCodec,
    NdarrayCodec,
    OpaqueCodec,
    ScalarCodec,
    known_codecs,
    resolve_opaque,
)
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.codecs.scalar import SPARK_TYPES
from tfpetastorm.schema.field import UnischemaField, declared_field
from tfpetastorm.schema.petastorm_emit import can_express, write_pickled_schema
from tfpetastorm.schema.petastorm_symbols import Instance, Symbol, read_symbols
from tfpetastorm.schema.unischema import Unischema

__all__ = ["UNISCHEMA_KEY", "can_express", "read_pickled_schema", "write_pickled_schema"]

#: The key in the footer of `_common_metadata` that holds the pickle.
UNISCHEMA_KEY = b"dataset-toolkit.unischema.v1"

_PACKAGES = ("petastorm", "av.experimental.deepdrive.dataset_toolkit", "av.ml.dataset_toolkit")
_BUILTINS = ("builtins", "__builtin__")
_ELEMENTS: dict[str, Any] = {
    **{f"numpy.{name}": name for name in (
        "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
        "bool_", "bool", "str_", "bytes_", "datetime64",
    )},
    "numpy.unicode_": np.str_, "numpy.string_": np.bytes_, "numpy.longlong": np.int64, "numpy.ulonglong": np.uint64,
    "numpy.intc": np.int32, "numpy.uintc": np.uint32, "decimal.Decimal": Decimal, "datetime.date": dt.date,
    "datetime.datetime": dt.datetime,
    **{f"{module}.{name}": kind for module in _BUILTINS for name, kind in (
        ("float", float), ("int", int), ("long", int), ("bool", bool), ("str", str), ("unicode", str), ("bytes", bytes),
    )},
}  # fmt: skip


def read_pickled_schema(data: bytes, codecs: Iterable[type[Codec]] = ()) -> Unischema:
    """The schema that petastorm pickled into a dataset's metadata, without importing or running anything.

    codecs: the user's own codec classes; one whose `petastorm_class` (or `codec_name`) is the pickled class's full
        name serves its fields. Fields of other unknown classes are read as the bytes they hold (OpaqueCodec).

    Raises UnsafeDataError if the pickle asks for anything but a schema, SchemaError if it is damaged or holds a field
    that has no counterpart.
    """
    given = tuple(known_codecs(codecs).values())
    schema = read_symbols(data)
    if not _is(schema, "unischema.Unischema") or not isinstance(schema.state, dict):
        raise UnsafeDataError(
            describe("A pickled schema is refused", expected="petastorm's Unischema", found=_shown(schema))
        )
    name, fields = schema.state.get("_name"), schema.state.get("_fields")
    if not isinstance(name, str) or not isinstance(fields, dict):
        raise SchemaError("A pickled schema is damaged: it has no name or no fields.")
    return Unischema(name or "Unischema", [_field(key, value, given) for key, value in fields.items()])


def _is(value: Any, name: str) -> bool:
    return isinstance(value, Instance) and value.kind.name in [f"{package}.{name}" for package in _PACKAGES]


def _shown(value: Any) -> str:
    if isinstance(value, Instance):
        return f"an object of {value.kind.name}"
    return value.name if isinstance(value, Symbol) else type(value).__name__


def _field(key: Any, stored: Any, codecs: Iterable[type[Codec]]) -> UnischemaField:
    if not _is(stored, "unischema.UnischemaField") or not 4 <= len(stored.arguments) <= 5:
        raise UnsafeDataError(describe("A pickled field is refused", expected="a UnischemaField", found=_shown(stored)))
    name, element, shape, codec = stored.arguments[:4]
    nullable = bool(stored.arguments[4]) if len(stored.arguments) == 5 else False
    if not isinstance(name, str) or name != key:
        raise SchemaError(f"A pickled schema is damaged: field {key!r} names itself {_shown(name)}.")
    if not isinstance(shape, tuple) or not all(size is None or type(size) is int for size in shape):
        raise SchemaError(f"A pickled schema is damaged: field {name!r} has a malformed shape.")
    dtype = _element(name, element)
    if codec is None:
        return UnischemaField(name, dtype, shape, None, nullable)
    if not isinstance(codec, Instance):
        raise UnsafeDataError(
            describe(f"The codec of field {name!r} is refused", expected="an object", found=_shown(codec))
        )
    known = _known_codec(codec)
    if known is not None:
        try:
            return UnischemaField(name, dtype, shape, known, nullable)
        except SchemaError:
            pass  # a combination that has no counterpart here: the other fields still do
    opaque = OpaqueCodec(codec.kind.name, _state_json(codec.state))
    return declared_field(name, dtype, shape, resolve_opaque(opaque, codecs), nullable)


def _element(name: str, element: Any) -> Any:
    if isinstance(element, Symbol) and element.name in _ELEMENTS:
        return _ELEMENTS[element.name]
    if isinstance(element, Instance) and element.kind.name == "numpy.dtype":
        return _dtype_instance(element)
    if isinstance(element, (Symbol, Instance)) and element is not None:
        raise SchemaError(
            describe(
                f"Field {name!r} has an element type without a counterpart", found=_shown(element), expected="NumPy's"
            )
        )
    raise SchemaError(f"A pickled schema is damaged: field {name!r} has no element type.")


def _dtype_instance(element: Instance) -> Any:
    code = str(element.arguments[0])
    state = element.state
    if code == "M8" and isinstance(state, tuple) and len(state) > 8:
        # The unit stands in the state: (…, ({}, (b'ns', 1, 1, 1))).
        unit = state[8][1][0]
        code = f"M8[{unit.decode('ascii') if isinstance(unit, bytes) else unit}]"
    return code


def _known_codec(codec: Instance) -> Codec | None:
    """The codec that is meant, if it is one of petastorm's own and its state is as petastorm writes it."""
    state: Mapping[str, Any] = codec.state if isinstance(codec.state, dict) else {}
    try:
        if _is(codec, "codecs.NdarrayCodec"):
            return NdarrayCodec()
        if _is(codec, "codecs.CompressedNdarrayCodec"):
            return CompressedNdarrayCodec()
        if _is(codec, "codecs.CompressedImageCodec"):
            return _image_codec(state)
        if _is(codec, "codecs.ScalarCodec"):
            return _scalar_codec(state.get("_spark_type"))
    except SchemaError:
        pass
    return None


def _image_codec(state: Mapping[str, Any]) -> Codec | None:
    # 0.2.1 to 0.2.3 are known by `_format` with a dot; what they stored has red and blue swapped.
    extension = state.get("_image_codec", state.get("_format"))
    quality = state.get("_quality", 80)
    if not isinstance(extension, str) or not isinstance(quality, int):
        return None
    swapped = "_image_codec" not in state and extension.startswith(".")
    return CompressedImageCodec(extension, quality, "bgr" if swapped else "rgb")


def _scalar_codec(spark: Any) -> Codec | None:
    module, _, kind = spark.kind.name.rpartition(".") if isinstance(spark, Instance) else ("", "", "")
    if module != "pyspark.sql.types":
        return None
    if kind == "DecimalType":
        state = spark.state if isinstance(spark.state, dict) else {}
        precision, scale = state.get("precision", 10), state.get("scale", 0)
        return ScalarCodec(f"decimal128({precision}, {scale})")
    return ScalarCodec(SPARK_TYPES[kind]) if kind in SPARK_TYPES else None


def _state_json(state: Any) -> str:
    """An unknown codec's attributes as JSON, as far as they are plain data of reasonable size; else none."""
    budget = [1000]

    def plain(value: Any) -> Any:
        # Pickles can nest one object in another again and again by reference: count what is visited.
        budget[0] -= 1
        if budget[0] < 0:
            raise ValueError("too large")
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, bytes):
            return value.decode("latin1")
        if isinstance(value, Instance):
            return {"class": value.kind.name, "state": plain(value.state)}
        return {"name": _shown(value)}

    try:
        return json.dumps(plain(state if isinstance(state, dict) else {}), sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "{}"

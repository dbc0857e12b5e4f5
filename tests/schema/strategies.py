"""Hypothesis strategies for fields, and for columns of cells that fit them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfpetastorm.schema.codecs import (
    CompressedImageCodec,
    CompressedNdarrayCodec,
    NdarrayCodec,
    ScalarCodec,
    TensorCodec,
)
from tfpetastorm.schema.field import UnischemaField

NUMBERS = [
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "bool",
]
ELEMENTS: list[Any] = [
    *NUMBERS, np.str_, np.bytes_, Decimal, dt.date,
    "datetime64[s]", "datetime64[ms]", "datetime64[us]", "datetime64[ns]",
]  # fmt: skip
# Arrow and NumPy both hold more; dates and instants that all units hold keep the comparison simple.
DAYS = st.integers(-100_000, 100_000)

names = st.one_of(
    st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), st.sampled_from(["a.b", "größe", "two words", "_c0"])
)
sizes = st.integers(1, 3)
shapes = st.lists(st.one_of(st.none(), sizes), min_size=1, max_size=3).map(tuple)


@st.composite
def fields(draw: st.DrawFn, name: str | None = None) -> UnischemaField:
    """A field of any element type, with any codec that can hold it."""
    chosen = name or draw(names)
    nullable = draw(st.booleans())
    kind = draw(st.sampled_from(["scalar", "native", "ndarray", "compressed", "tensor", "image"]))
    if kind == "image":
        codec = draw(st.sampled_from(["png", "jpeg", "webp"]))
        dtype = draw(st.sampled_from(["uint8", "uint16"])) if codec == "png" else "uint8"
        channels = {"png": [None, 1, 3, 4], "jpeg": [None, 1, 3], "webp": [3, 4]}[codec]
        last = draw(st.sampled_from(channels))
        plane = (draw(st.one_of(st.none(), sizes)), draw(st.one_of(st.none(), sizes)))
        shape = plane if last is None else (*plane, last)
        quality = 101 if codec == "webp" else 95
        return UnischemaField(chosen, dtype, shape, CompressedImageCodec(codec, quality), nullable)
    if kind == "tensor":
        shape = tuple(draw(st.lists(sizes, min_size=1, max_size=3)))
        return UnischemaField(chosen, draw(st.sampled_from(NUMBERS[:-1])), shape, TensorCodec(), nullable)
    element = draw(st.sampled_from(ELEMENTS))
    if kind == "scalar":
        codec = draw(st.sampled_from([None, ScalarCodec(), *_storages(element)]))
        return UnischemaField(chosen, element, (), codec, nullable)
    if kind == "native" or element is Decimal:
        return UnischemaField(chosen, element, draw(shapes), None, nullable)
    codec = NdarrayCodec() if kind == "ndarray" else CompressedNdarrayCodec()
    return UnischemaField(chosen, element, draw(st.one_of(shapes, st.just(()))), codec, nullable)


def _storages(element: Any) -> list[ScalarCodec]:
    # Storages that hold every value the strategies below draw.
    wider = {
        "int8": ["int8", "int32", "int64"], "int16": ["int16", "int64"], "int32": ["int64"],
        "uint8": ["int16", "uint32"],
        "uint16": ["int32"], "float32": ["float64"], "float16": ["float32"], "bool": ["bool"],
        "datetime64[s]": ["timestamp[us]", "timestamp[ns]"], "datetime64[ms]": ["timestamp[us]"],
    }  # fmt: skip
    if element is Decimal:
        return [ScalarCodec("decimal128(38, 9)"), ScalarCodec("string")]
    if element is np.str_ or element is np.bytes_:
        return [ScalarCodec("binary"), ScalarCodec("large_binary")]
    return [ScalarCodec(storage) for storage in wider.get(element, [])] if isinstance(element, str) else []


def items(field: UnischemaField) -> st.SearchStrategy[Any]:
    """One item of a field, as users give it."""
    if field.kind == "number":
        return hnp.from_dtype(field.dtype, allow_nan=False)
    if field.kind == "text":
        return st.text(max_size=5).filter(lambda text: not text.endswith("\0"))
    if field.kind == "bytes":
        return st.binary(max_size=5).filter(lambda raw: not raw.endswith(b"\0"))
    if field.kind == "decimal":
        return st.decimals(-(10**9), 10**9, places=4, allow_nan=False, allow_infinity=False)
    if field.kind == "date":
        return DAYS.map(lambda days: dt.date(1970, 1, 1) + dt.timedelta(days % 50_000))
    return DAYS.map(lambda days: np.datetime64(days * 86_400 + 17, "s").astype(field.dtype))


@st.composite
def cells(draw: st.DrawFn, field: UnischemaField) -> Any:
    """One cell of a field: a scalar or an array of its shape."""
    if not field.shape and not isinstance(field.codec, (NdarrayCodec, CompressedNdarrayCodec)):
        return draw(items(field))
    low = 1 if isinstance(field.codec, CompressedImageCodec) else 0
    shape = tuple(draw(st.integers(low, 3)) if size is None else size for size in field.shape)
    if field.kind == "number":
        array = draw(hnp.arrays(field.dtype, shape, elements=items(field)))
        if isinstance(field.codec, CompressedImageCodec) and field.codec.image_codec == "webp" and shape[2] == 4:
            array[..., 3] |= 1  # WebP drops the colour of what is wholly transparent
        return array
    flat = [draw(items(field)) for _ in range(int(np.prod(shape, dtype=int)))]
    array = np.empty(len(flat), object)
    array[:] = flat
    array = array.reshape(shape)
    return array if field.is_text or field.kind == "date" else array.astype(field.dtype)


@st.composite
def columns(draw: st.DrawFn, field: UnischemaField) -> list[Any]:
    """Some cells of a field, None for null where it is nullable."""
    cell = cells(field)
    return draw(st.lists(st.one_of(st.none(), cell) if field.nullable else cell, max_size=5))

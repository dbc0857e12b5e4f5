"""Data as text for a terminal: never a control character of the data's, never more than fits a line."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np

from tfpetastorm.schema.codecs import (
    Codec,
    CompressedImageCodec,
    CompressedNdarrayCodec,
    NdarrayCodec,
    OpaqueCodec,
    ScalarCodec,
    TensorCodec,
)
from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.dtypes import dtype_name
from tfpetastorm.schema.field import UnischemaField

#: Characters of a string or bytes that are shown.
_SHOWN = 48
#: Items of an array that are shown one by one.
_ITEMS = 6


def printable(text: str) -> str:
    """`text` on one line: what could steer a terminal is escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def size_text(size: int) -> str:
    """Bytes in the unit that suits: `999 B`, `1.2 kB`, `34.5 MB`."""
    if size < 1000:
        return f"{size} B"
    power = min(int(math.log10(size)) // 3, 5)
    shown = f"{size / 1000**power:.1f}"
    if shown == "1000.0" and power < 5:
        power, shown = power + 1, "1.0"
    return f"{shown} {'kMGTP'[power - 1]}B"


def type_text(field: UnischemaField) -> str:
    """A field's element type and shape: `uint8 (120, 160, 3)`."""
    name = dtype_name(field.numpy_dtype)
    return f"{name} {shape_text(field.shape)}" if field.shape else name


def shape_text(shape: tuple[int | None, ...]) -> str:
    """A shape as Python writes it, `?` for sizes that differ from row to row."""
    sizes = ["?" if size is None else str(size) for size in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def codec_text(codec: Codec | None) -> str:
    """How cells are stored, in two or three words."""
    if codec is None:
        return "native"
    if isinstance(codec, CompressedImageCodec):
        quality = "" if codec.image_codec == "png" else f" {codec.quality}"
        return f"{codec.image_codec}{quality}{' (bgr)' if codec.channel_order == 'bgr' else ''}"
    if isinstance(codec, ScalarCodec):
        return f"scalar {codec.to_json().get('storage', '')}".rstrip()
    if isinstance(codec, NdarrayCodec):
        return "npy"
    if isinstance(codec, CompressedNdarrayCodec):
        return "npz"
    if isinstance(codec, TensorCodec):
        return "tensor"
    if isinstance(codec, OpaqueCodec):
        return f"unknown: {printable(codec.class_name)}"
    return printable(codec.codec_name)


def cell_text(value: Any) -> str:
    """One cell on one line: scalars as they are, strings cut, arrays by dtype, shape and range."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return _cut(value, "characters")
    if isinstance(value, bytes):
        return _cut(value, "bytes")
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (Decimal, np.datetime64)):
        return str(value)
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, (float, np.floating)):
        return _number(value)
    return str(value)


def _cut(value: str | bytes, unit: str) -> str:
    if len(value) <= _SHOWN:
        return printable(repr(value))
    return f"{printable(repr(value[:_SHOWN]))}… ({len(value):,} {unit})"


def _number(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 10 else f"{float(value):.6g}"


def _array(array: Array) -> str:
    kind = _kind(array)
    if array.ndim == 1 and len(array) <= _ITEMS:
        return f"{kind} [{', '.join(map(cell_text, array))}]".lstrip()
    head = f"{kind} {shape_text(array.shape)}".lstrip()
    if not array.size:
        return f"{head} empty"
    if array.dtype == object:
        items = ", ".join(cell_text(item) for item in array.reshape(-1)[:3])
        return f"{head} [{items}, …]"
    if array.dtype.kind == "b":
        return f"{head} {int(array.sum()):,} of {array.size:,} true"
    missing = np.isnat(array) if array.dtype.kind == "M" else np.isnan(array) if array.dtype.kind == "f" else None
    count = 0 if missing is None else int(missing.sum())
    if missing is not None and count:
        array = array[~missing]
    spread = f"{cell_text(array.min())} … {cell_text(array.max())}" if array.size else ""
    return " ".join(filter(None, [head, spread, f"{count:,} missing" if count else ""]))


def _kind(array: Array) -> str:
    if array.dtype != object:
        return str(array.dtype)
    first = next((item for item in array.reshape(-1) if item is not None), None)
    return {str: "str", bytes: "bytes", Decimal: "decimal"}.get(type(first), "")

"""Arrow arrays as NumPy arrays, without Python per row: validity, numbers, text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfpetastorm.schema.columns import ALIGNMENT, Array, Text, empty_aligned

_PHYSICAL = {
    pa.int8(): np.int8, pa.int16(): np.int16, pa.int32(): np.int32, pa.int64(): np.int64,
    pa.uint8(): np.uint8, pa.uint16(): np.uint16, pa.uint32(): np.uint32, pa.uint64(): np.uint64,
    pa.float16(): np.float16, pa.float32(): np.float32, pa.float64(): np.float64, pa.date32(): np.int32,
    pa.date64(): np.int64,
}  # fmt: skip


def storage_of(array: pa.Array) -> pa.Array:
    """The array without extension types around it."""
    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array


def validity(array: pa.Array) -> Array | None:
    """bool `[rows]`, False where null; None if nothing is null."""
    if array.null_count == 0:
        return None
    return aligned(array.is_valid().cast(pa.uint8()), np.dtype(np.uint8)).view(np.bool_)


def aligned(array: pa.Array, dtype: np.dtype[Any]) -> Array:
    """The data buffer of a primitive array as `dtype`, without a copy where its start is aligned."""
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.empty(0, dtype)
    values = np.frombuffer(buffer, dtype, count=len(array), offset=array.offset * dtype.itemsize)
    if values.ctypes.data % ALIGNMENT:
        copy = empty_aligned(values.shape, dtype)
        copy[...] = values
        return copy
    return values


def physical_dtype(kind: pa.DataType) -> np.dtype[Any] | None:
    """The dtype in which Arrow holds the values of a primitive type; None for others and for bool."""
    if pa.types.is_timestamp(kind):
        return np.dtype(np.int64)
    found = _PHYSICAL.get(kind)
    return np.dtype(found) if found is not None else None


def is_textual(kind: pa.DataType) -> bool:
    """Whether values of this type are strings or bytes of any layout."""
    if pa.types.is_dictionary(kind):
        return is_textual(kind.value_type)
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or _is_view(kind)
    )


def _is_view(kind: pa.DataType) -> bool:
    # By name: pyarrow 15 has no predicate for them.
    return str(kind) in ("string_view", "binary_view")


def text_of(array: pa.Array) -> Text:
    """Strings or bytes of any Arrow layout as a `Text`; null items are empty."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _dictionary_text(array)
    if _is_view(kind):
        array = array.cast(pa.large_string() if str(kind) == "string_view" else pa.large_binary())
        kind = array.type
    if pa.types.is_fixed_size_binary(kind):
        array = array.cast(pa.binary())
    offsets = _offsets(array)
    if array.null_count:
        lengths = np.diff(offsets)
        if lengths[array.is_null().to_numpy(zero_copy_only=False)].any():
            array = pc.fill_null(array, pa.scalar(b"" if "binary" in str(array.type) else "", array.type))
            offsets = _offsets(array)
    data = array.buffers()[2]
    raw = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return Text(offsets, raw)


def binary_parts(array: pa.Array) -> tuple[Array, Array]:
    """int64 offsets `[rows + 1]` into uint8 data `[bytes]` of any array of strings or bytes."""
    text = text_of(array.dictionary_decode() if pa.types.is_dictionary(array.type) else array)
    return text.offsets, text.data


def _offsets(array: pa.Array) -> Array:
    large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    dtype = np.dtype(np.int64 if large else np.int32)
    buffer = array.buffers()[1]
    if buffer is None or buffer.size == 0:
        return np.zeros(len(array) + 1, np.int64)
    stored = np.frombuffer(buffer, dtype, count=len(array) + 1, offset=array.offset * dtype.itemsize)
    return stored.astype(np.int64, copy=False)


def _dictionary_text(array: pa.DictionaryArray) -> Text:
    items = text_of(array.dictionary)
    offsets = items.offsets
    nulls = array.null_count
    codes = empty_aligned((len(array),), np.int32)
    if nulls:
        # A null row points at an empty item of its own, appended to the dictionary.
        codes[:] = pc.fill_null(array.indices.cast(pa.int32()), len(items)).to_numpy(zero_copy_only=False)
        offsets = np.append(offsets, offsets[-1])
    else:
        codes[:] = array.indices.to_numpy(zero_copy_only=False)
    return Text(offsets, items.data, codes)


def zero_invalid(values: Array, valid: Array | None) -> Array:
    """`values` with zeros where not valid: what lies under a null in Arrow is undefined."""
    if valid is None:
        return values
    clean = empty_aligned(values.shape, values.dtype)
    clean[...] = values
    clean[~valid] = np.zeros((), values.dtype)
    return clean

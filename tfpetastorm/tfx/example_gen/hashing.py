"""Stable hashes of stored cells and rows, by which rows are split: the same on every machine and in every file.

They depend on the values alone, not on how wide their column is, where a row lies, or in which order columns come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfpetastorm.plan.hashing import key64, mix64
from tfpetastorm.schema.codecs.lists import is_list
from tfpetastorm.schema.columns import Array

_NULL = key64("null")
_STEP = np.uint64(0x9E3779B97F4A7C15)


def row_hashes(arrays: Mapping[str, pa.Array], rows: int) -> Array:
    """uint64 `[rows]`: a hash of all cells of each row. arrays: columns as stored, by name."""
    total = np.zeros(rows, np.uint64)
    with np.errstate(over="ignore"):
        for name, array in arrays.items():
            total += mix64(cell_hashes(array) ^ key64("column", name))
    return mix64(total)


def cell_hashes(array: pa.Array) -> Array:
    """uint64 `[cells]`: a hash of each cell. Integers of any width hash alike, so do floats, and text and its bytes."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return cell_hashes(array.storage)
    if pa.types.is_null(kind):
        return np.full(len(array), _NULL)
    if pa.types.is_dictionary(kind):
        entries = np.append(cell_hashes(array.dictionary), _NULL)
        codes: Array = entries[pc.fill_null(array.indices, len(entries) - 1).to_numpy(zero_copy_only=False)]
        return codes
    hashes = _values(array)
    if array.null_count:
        hashes = np.where(array.is_null().to_numpy(zero_copy_only=False), _NULL, hashes)
    return hashes


def _values(array: pa.Array) -> Array:
    """Hashes of the cells that are not null, and anything where they are."""
    kind = array.type
    if is_list(kind) or pa.types.is_map(kind):
        return _lists(array)
    if pa.types.is_struct(kind):
        members = {kind.field(i).name: pc.struct_field(array, [i]) for i in range(kind.num_fields)}
        return row_hashes(members, len(array))
    if pa.types.is_floating(kind):
        numbers = pc.fill_null(array.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False)
        # -0.0 equals 0.0, and no NaN is another than the others.
        numbers = np.where(np.isnan(numbers), np.nan, numbers) + 0.0
        return mix64(numbers.view(np.uint64))
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        wide = array if pa.types.is_uint64(kind) else array.cast(pa.int64())
        return mix64(pc.fill_null(wide, 0).to_numpy(zero_copy_only=False).view(np.uint64))
    if pa.types.is_temporal(kind):
        # As the numbers that are stored: days, or a count of the unit, which files of a dataset share.
        return mix64(
            pc.fill_null(array.view(pa.int32() if kind.bit_width == 32 else pa.int64()), 0)
            .to_numpy(zero_copy_only=False)
            .astype(np.int64)
            .view(np.uint64)
        )
    if pa.types.is_decimal(kind):
        array = array.cast(pa.string())
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        codes = array.dictionary_encode()
        return cell_hashes(pa.DictionaryArray.from_arrays(codes.indices, _as_bytes(codes.dictionary)))
    return _digests(_as_bytes(array))


def _as_bytes(array: pa.Array) -> pa.Array:
    return array.cast(pa.large_binary()) if not pa.types.is_large_binary(array.type) else array


def _digests(array: pa.Array) -> Array:
    # One call of C a cell.
    blake = hashlib.blake2b
    found = b"".join(blake(cell or b"", digest_size=8).digest() for cell in array.to_pylist())
    return np.frombuffer(found, "<u8").astype(np.uint64)


def _lists(array: pa.Array) -> Array:
    """Of each list: its items' hashes, mixed with their positions and added up, mixed with how many there are."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    if pa.types.is_fixed_size_list(array.type):
        lengths = np.where(array.is_valid().to_numpy(zero_copy_only=False), lengths, 0)
    # Leaves out what null lists may hide.
    items = cell_hashes(array.flatten() if not pa.types.is_map(array.type) else _entries(array))
    ends = np.cumsum(lengths)
    position = np.arange(len(items)) - np.repeat(ends - lengths, lengths)
    with np.errstate(over="ignore"):
        mixed = mix64(items + (position.astype(np.uint64) + np.uint64(1)) * _STEP)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
        return mix64((sums[ends] - sums[ends - lengths]) + mix64(lengths.astype(np.uint64)))


def _entries(array: pa.Array) -> pa.Array:
    """The entries of maps as structs."""
    return array.cast(pa.list_(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)]))).flatten()

"""Parquet's bloom filters: which row groups can't hold a value, where statistics don't tell.

Format: https://parquet.apache.org/docs/file-format/bloomfilter/ : a Thrift header, then blocks of 256 bits, each of
8 words. A value's hash (XXH64 of its plain encoding) picks a block and one bit of each word; unless all 8 are set, the
value is not there. A filter that can't be read, or denies a value that the statistics say is there, is not believed.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfpetastorm.schema.columns import Array
from tfpetastorm.storage.lookups import All, Either, Lookup, Wanted
from tfpetastorm.storage.thrift import bloom_header, bloom_places

if TYPE_CHECKING:
    from tfpetastorm.storage.dataset import StoredDataset

_SALT = np.array(
    [0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31], np.uint64
)
_BLOCK_BYTES = 32
_HEADER_BYTES = 64
#: Larger filters cost more to fetch than a row group that might be skipped.
_MAX_BYTES = 16 << 20
_THREADS = 16
#: Bytes of a footer that are parsed in Python, about a second's work.
_MAX_PARSED = 2 << 20
#: Statistics cut longer ones.
_MAX_EXACT_BYTES = 32


def prune_by_bloom(
    dataset: StoredDataset, wanted: Wanted, keep: Array, on_read: Callable[[int], None] | None = None
) -> Array:
    """bool `[row groups]`: `keep` without the row groups whose bloom filters show that nothing `wanted` is there.

    on_read: called with the bytes of each filter that is read; by several threads, one after another.
    """
    names = _fields(wanted)
    kept = keep.copy()
    files: dict[int, list[int]] = {}
    for group in np.flatnonzero(keep).tolist():
        files.setdefault(int(dataset.inventory.row_group_file[group]), []).append(group)
    work = [(file, groups, places) for file, groups in files.items() if (places := _places(dataset, file, names))]
    if not work:
        return kept

    def one(file: int, groups: list[int], places: _Places) -> tuple[list[int], list[int]]:
        reader = _FileFilters(dataset, file, places)
        gone = [group for group in groups if reader.absent(wanted, int(dataset.inventory.row_group_ordinal[group]))]
        reader.close()
        return gone, reader.read

    with ThreadPoolExecutor(min(_THREADS, len(work)), "tfpetastorm-bloom") as threads:
        for gone, read in threads.map(lambda task: one(*task), work):
            kept[gone] = False
            for size in read:
                if on_read is not None:
                    on_read(size)
    return kept


#: By row group in a file and field: the Parquet column, and the offset and length (-1 if unknown) of its filter.
_Places = dict[tuple[int, str], tuple[int, int, int]]


def _fields(wanted: Wanted) -> set[str]:
    if isinstance(wanted, Lookup):
        return {wanted.field}
    return {name for part in wanted.parts for name in _fields(part)} if wanted is not None else set()


def _places(dataset: StoredDataset, file: int, names: set[str]) -> _Places:
    metadata = dataset.file_metadata(file)
    columns = {name: dataset.flat_column(file, name) for name in names}
    stored = {name: column for name, column in columns.items() if column is not None}
    found: _Places = {}
    if not stored or not metadata.num_row_groups:
        return found
    if hasattr(metadata.row_group(0).column(0), "bloom_filter_offset"):
        for ordinal in range(metadata.num_row_groups):
            for name, column in stored.items():
                chunk = metadata.row_group(ordinal).column(column)
                if chunk.bloom_filter_offset is not None:
                    length = chunk.bloom_filter_length
                    found[ordinal, name] = column, chunk.bloom_filter_offset, -1 if length is None else length
        return found
    # Earlier versions of pyarrow don't tell where filters are.
    raw = dataset.footers[file].raw
    places = bloom_places(raw) if len(raw) <= _MAX_PARSED else {}
    for (ordinal, column), (offset, length) in places.items():
        for name, own in stored.items():
            if own == column:
                found[ordinal, name] = column, offset, length
    return found


class _FileFilters:
    """The filters of one file, each read when first asked for."""

    def __init__(self, dataset: StoredDataset, file: int, places: _Places) -> None:
        self._dataset, self._index, self._places = dataset, file, places
        self._metadata = dataset.file_metadata(file)
        self._file: Any = None
        self._filters: dict[tuple[int, str], _Filter | None] = {}
        self.read: list[int] = []

    def absent(self, wanted: Wanted, ordinal: int) -> bool:
        """Whether no row of a row group can have what is wanted."""
        if isinstance(wanted, All):
            return any(self.absent(part, ordinal) for part in wanted.parts)
        if isinstance(wanted, Either):
            return all(self.absent(part, ordinal) for part in wanted.parts)
        if wanted is None or (ordinal, wanted.field) not in self._places:
            return False
        column = self._places[ordinal, wanted.field][0]
        kind = _kind(self._metadata, column)
        hashes: list[int] = []
        for value in wanted.values:
            encoded = kind.encode(value.as_py() if not pa.types.is_timestamp(value.type) else _ticks(value))
            if encoded is None:
                return False
            hashes += map(_hash, encoded)
        filter_ = self._filter(ordinal, wanted.field)
        return filter_ is not None and not any(filter_.has(value) for value in hashes)

    def close(self) -> None:
        """Closes the file, if it was opened."""
        if self._file is not None:
            self._file.close()

    def _filter(self, ordinal: int, name: str) -> _Filter | None:
        key = ordinal, name
        if key not in self._filters:
            try:
                self._filters[key] = self._load(ordinal, *self._places[key])
            except (OSError, ValueError, LookupError, TypeError, struct.error, pa.ArrowException):
                self._filters[key] = None
        return self._filters[key]

    def _load(self, ordinal: int, column: int, offset: int, length: int) -> _Filter | None:
        size = self._dataset.files[self._index].size
        if offset < 4 or (size >= 0 and offset >= size) or length > _MAX_BYTES:
            return None
        if self._file is None:
            self._file = self._dataset.filesystem.open_input_file(self._dataset.files[self._index].path)
        raw = self._file.read_at(length if length > 0 else _HEADER_BYTES, offset)
        count, start = bloom_header(raw)
        if count <= 0 or count % _BLOCK_BYTES or count > _MAX_BYTES or (length > 0 and start + count != length):
            return None
        if len(raw) < start + count:
            raw += self._file.read_at(start + count - len(raw), offset + len(raw))
        self.read.append(start + count)
        if len(raw) < start + count:
            return None
        found = _Filter(np.frombuffer(raw, "<u4", count // 4, start).reshape(-1, 8))
        return found if self._believable(found, ordinal, column) else None

    def _believable(self, filter_: _Filter, ordinal: int, column: int) -> bool:
        """Whether the filter knows the values that statistics tell of."""
        statistics = self._metadata.row_group(ordinal).column(column).statistics
        kind = _kind(self._metadata, column)
        known: list[Any] = []
        if statistics is not None and statistics.has_min_max:
            # Some have no Python value, such as decimals before pyarrow 17.
            with contextlib.suppress(ValueError, OverflowError, NotImplementedError, pa.ArrowException):
                known = [statistics.min, statistics.max]
        for value in known:
            encoded = kind.encode(value)
            exact = encoded is not None and len(encoded) == 1 and len(encoded[0]) <= _MAX_EXACT_BYTES
            if encoded is not None and exact and not filter_.has(_hash(encoded[0])):
                return False
        return bool(filter_.words.any())


@dataclass(frozen=True, eq=False)
class _Filter:
    """words: uint32 `[blocks, 8]`."""

    words: Array

    def has(self, hashed: int) -> bool:
        """False if no value with this hash was ever added."""
        block = ((hashed >> 32) * len(self.words)) >> 32
        bits = ((np.uint64(hashed & 0xFFFFFFFF) * _SALT) & np.uint64(0xFFFFFFFF)) >> np.uint64(27)
        return bool((self.words[block] & (np.uint32(1) << bits.astype(np.uint32))).all())


def _hash(encoded: bytes) -> int:
    # Imported here: few datasets have bloom filters.
    import xxhash

    return int(xxhash.xxh64_intdigest(encoded, 0))


@dataclass(frozen=True)
class _Kind:
    """How a Parquet column stores values. physical: its Parquet type. logical: "", or what its integers or bytes are:
    "int", "date", "decimal", "text", "ms", "us", "ns". signed: of integers. width: of fixed bytes. scale: of decimals.
    """

    physical: str
    logical: str
    scale: int = 0
    width: int = 0
    bits: int = 0
    signed: bool = True

    def encode(self, value: Any) -> list[bytes] | None:
        """The plain encodings that a value may have; None for one of which that is not known."""
        if isinstance(value, (np.datetime64, np.timedelta64)):
            return None
        if self.physical == "BYTE_ARRAY" and self.logical in ("text", ""):
            if isinstance(value, str):
                return [value.encode()] if self.logical == "text" else None
            return [bytes(value)] if isinstance(value, bytes) else None
        if self.physical in ("FLOAT", "DOUBLE"):
            return self._float(value)
        number = self._number(value)
        if number is None:
            return None
        if self.physical == "INT32":
            return [(number & 0xFFFFFFFF).to_bytes(4, "little")]
        if self.physical == "INT64":
            return [(number & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")]
        if self.physical == "FIXED_LEN_BYTE_ARRAY" and self.logical == "decimal":
            return [number.to_bytes(self.width, "big", signed=True)]
        return None

    def _float(self, value: Any) -> list[bytes] | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            return None
        code = "<f" if self.physical == "FLOAT" else "<d"
        try:
            encoded = struct.pack(code, value)
        except (OverflowError, struct.error):
            return None
        if struct.unpack(code, encoded)[0] != value:
            return None
        # A writer hashes the zero that was written, and equality takes either.
        return [struct.pack(code, 0.0), struct.pack(code, -0.0)] if value == 0 else [encoded]

    def _number(self, value: Any) -> int | None:
        """The integer that the column stores for a value; None if that is not known, or none that it can store."""
        if self.logical == "int":
            number = value if isinstance(value, int) and not isinstance(value, bool) else None
        elif self.logical in ("ms", "us", "ns"):
            number = value[1] if isinstance(value, tuple) and value[0] == self.logical else None
        elif self.logical == "date":
            number = pa.scalar(value, pa.date32()).value if type(value).__name__ == "date" else None
        elif self.logical == "decimal" and isinstance(value, (Decimal, int)) and not isinstance(value, bool):
            sign, digits, exponent = Decimal(value).as_tuple()
            shift = int(exponent) + self.scale
            if shift < 0 or shift > 80:
                return None
            number = int("".join(map(str, digits))) * 10**shift * (-1 if sign else 1)
        else:
            return None
        bits = self.bits or 8 * (self.width or 8)
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if self.signed else (0, (1 << bits) - 1)
        return number if number is not None and low <= number <= high else None


def _kind(metadata: pq.FileMetaData, index: int) -> _Kind:
    column = metadata.schema.column(index)
    physical, logical = column.physical_type, column.logical_type
    bits = {"INT32": 32, "INT64": 64}.get(physical, 0)
    kind = logical.type if logical is not None else "NONE"
    if kind == "STRING":
        return _Kind(physical, "text")
    if kind == "DECIMAL":
        return _Kind(physical, "decimal", column.scale, max(0, column.length or 0), bits)
    if kind == "DATE":
        return _Kind(physical, "date", bits=bits)
    if kind == "TIMESTAMP":
        text = logical.to_json().lower()
        unit = next((short for long, short in _UNITS.items() if long in text), "unknown")
        return _Kind(physical, unit, bits=bits)
    if kind == "INT":
        return _Kind(physical, "int", bits=bits, signed='"issigned": true' in logical.to_json().lower())
    if kind == "NONE":
        return _Kind(physical, "int" if bits else "", bits=bits)
    return _Kind(physical, "unknown")


_UNITS = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}


def _ticks(value: pa.Scalar) -> tuple[str, int]:
    return value.type.unit, value.value

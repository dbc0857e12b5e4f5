"""The `.npy` format, read and written without NumPy's own reader: no pickle, no evaluation, no allocation by header.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (versions 1 to 3).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tfpetastorm.schema.codecs.base import UnsafeReason
from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.dtypes import stored_dtype

#: No header of an array that a field can hold is longer.
MAX_HEADER = 4096

_MAGIC = b"\x93NUMPY"
# Every writer known puts the keys in this order; Python 2 wrote sizes as longs (`3L`).
_HEADER = re.compile(
    rb"\{\s*'descr'\s*:\s*'([^']{1,32})'\s*,\s*'fortran_order'\s*:\s*(True|False)\s*,"
    rb"\s*'shape'\s*:\s*\(([0-9L, ]*)\)\s*,?\s*\}\s*"
)


@dataclass(frozen=True)
class NpyHeader:
    """What a header says. start: bytes before the data. dtype: as stored, maybe big-endian."""

    dtype: np.dtype[Any]
    fortran: bool
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        """The size of the data that must follow."""
        return math.prod(self.shape) * self.dtype.itemsize


def header_length(cell: Array | bytes) -> int | str:
    """The length of the header at the start of `cell`, or why there is none."""
    start = bytes(cell[:12])
    if start[:6] != _MAGIC or len(start) < 10:
        return "not an .npy array"
    if start[6] == 1:
        length = 10 + int.from_bytes(start[8:10], "little")
    elif start[6] in (2, 3) and len(start) == 12:
        length = 12 + int.from_bytes(start[8:12], "little")
    else:
        return f".npy version {start[6]} is not known"
    if length > MAX_HEADER:
        return f"an .npy header of {length} bytes"
    return length if length <= len(cell) else "an .npy header that is cut off"


@lru_cache(maxsize=1024)
def parse_header(header: bytes) -> NpyHeader | str:
    """What the bytes of a whole header say, or why an array under it is refused."""
    match = _HEADER.fullmatch(header[10 if header[6] == 1 else 12 :])
    if match is None:
        return "the .npy header describes no plain array"
    descr = match[1].decode("latin1")
    if "O" in descr:
        return UnsafeReason("an array of Python objects, which only unpickling could read")
    dtype = stored_dtype(descr)
    if dtype is None:
        return f"an .npy array of {descr!r}"
    sizes = [size.strip().rstrip("L") for size in match[3].decode().split(",")]
    if sizes and not sizes[-1]:
        sizes.pop()
    if not all(size.isdigit() and len(size) < 20 for size in sizes):
        return "the .npy header has a malformed shape"
    return NpyHeader(dtype, match[2] == b"True", tuple(map(int, sizes)), len(header))


def read_header(cell: Array | bytes) -> NpyHeader | str:
    """The header at the start of `cell`, or why there is none that can be read."""
    length = header_length(cell)
    return length if isinstance(length, str) else parse_header(bytes(cell[:length]))


def array_under(header: NpyHeader, data: Array) -> Array:
    """The array of the bytes that follow a header, uint8 `[header.nbytes]`, as a view."""
    if header.dtype.itemsize == 0:
        return np.zeros(header.shape, header.dtype)
    flat = np.frombuffer(data, header.dtype)
    if header.fortran:
        return flat.reshape(header.shape[::-1]).T
    return flat.reshape(header.shape)


def make_header(dtype: npt.DTypeLike, shape: tuple[int, ...]) -> bytes:
    """The bytes before the data of a C-ordered array, padded to 64 bytes as NumPy does."""
    described = f"{{'descr': '{np.dtype(dtype).str}', 'fortran_order': False, 'shape': {shape!r}, }}"
    length = -(-(10 + len(described) + 1) // 64) * 64 - 10
    return _MAGIC + b"\x01\x00" + length.to_bytes(2, "little") + described.ljust(length - 1).encode() + b"\n"

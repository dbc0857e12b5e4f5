"""Memory for decoded columns: aligned, and used again.

A large array from the system is new pages each time, which the kernel clears: for pictures that costs a tenth of
decoding them. So whoever runs read tasks lends a `Recycler` for the time of one, and the arrays made meanwhile go
back to it when the last view of them is gone, wherever that is: in Python or in TensorFlow.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

#: TensorFlow adopts an array without a copy only if it starts at a multiple of this many bytes
#: (EIGEN_MAX_ALIGN_BYTES on machines with AVX-512).
ALIGNMENT = 64

#: Smaller arrays come from the C library, which reuses them itself.
_SMALLEST = 1 << 20


class Recycler:
    """Keeps at most `keep_bytes` of memory that arrays no longer use, for the next ones of about the same size."""

    def __init__(self, keep_bytes: int) -> None:
        self._keep = keep_bytes
        self._lock = threading.Lock()
        self._free: dict[int, list[Array]] = {}
        self._free_bytes = 0
        # Arrays die at any moment, also while this thread holds the lock: their finalizers only append here.
        self._returned: deque[Array] = deque()

    def bytes(self, size: int) -> Array:
        """Uninitialised uint8 `[size]`, aligned. Its memory is used again when it and all views of it are gone."""
        # Rounded up to an eighth of the next power of two, so that tasks of about the same size share memory.
        step = max(_SMALLEST, 1 << max(0, size.bit_length() - 3))
        rounded = -(-size // step) * step
        raw = self._take(rounded)
        start = -raw.ctypes.data % ALIGNMENT
        # Through a memoryview: views of this array then refer to it, and not past it to `raw`.
        array = np.frombuffer(memoryview(raw.data)[start : start + size], np.uint8)
        weakref.finalize(array, self._returned.append, raw).atexit = False
        return array

    def clear(self) -> None:
        """Gives back what is free."""
        with self._lock:
            self._collect()
            self._free.clear()
            self._free_bytes = 0

    def _take(self, size: int) -> Array:
        with self._lock:
            self._collect()
            found = self._free.get(size)
            if found:
                self._free_bytes -= size
                return found.pop()
        return np.empty(size + ALIGNMENT, np.uint8)

    def _collect(self) -> None:
        while self._returned:
            raw = self._returned.popleft()
            size = raw.nbytes - ALIGNMENT
            if self._free_bytes + size <= self._keep:
                self._free.setdefault(size, []).append(raw)
                self._free_bytes += size


_LENT: ContextVar[Recycler | None] = ContextVar("_LENT", default=None)


@contextmanager
def lent(recycler: Recycler) -> Iterator[None]:
    """While this runs, large arrays made by this thread come from `recycler`."""
    token = _LENT.set(recycler)
    try:
        yield
    finally:
        _LENT.reset(token)


def empty_aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """An uninitialised C-contiguous array of `shape` whose data starts at a multiple of `ALIGNMENT` bytes."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    recycler = _LENT.get()
    if recycler is not None and size >= _SMALLEST:
        return recycler.bytes(size).view(dtype).reshape(shape)
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)

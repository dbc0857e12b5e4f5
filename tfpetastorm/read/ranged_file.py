"""A file on a store as pyarrow's Parquet reader sees it: the wanted column chunks are at hand before it asks."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pyarrow as pa

from tfpetastorm.stores.file_like import FileLike
from tfpetastorm.stores.range_reader import RangeReader
from tfpetastorm.stores.ranges import ByteRange, coalesced


class RangedFile(FileLike):
    """Serves reads from ranges that were fetched before. Used by one thread at a time.

    fetched: bytes that were asked of the store in all.
    """

    def __init__(self, reader: RangeReader) -> None:
        self._reader = reader
        self._at = 0
        self._held: list[tuple[ByteRange, pa.Buffer]] = []
        self.fetched = 0

    def hold(self, ranges: Sequence[ByteRange]) -> None:
        """Fetch these ranges, in few requests, and keep them until `drop`. Raises StoreError."""
        wanted = coalesced(ranges)
        buffers = self._reader.read(wanted)
        self.fetched += sum(one.size for one in wanted)
        self._held = list(zip(wanted, buffers, strict=True))

    def drop(self) -> None:
        """Let go of what was fetched."""
        self._held = []

    # What pyarrow calls. `read_buffer` hands over memory without a copy.

    def read_buffer(self, size: int) -> pa.Buffer:
        """The next `size` bytes, fewer at the end of the file."""
        stop = min(self._at + size, self._reader.size)
        wanted = ByteRange(self._at, max(self._at, stop))
        self._at = wanted.stop
        for held, buffer in self._held:
            if held.start <= wanted.start and wanted.stop <= held.stop:
                return buffer.slice(wanted.start - held.start, wanted.size)
        if not wanted.size:
            return pa.py_buffer(b"")
        # Readers allow for writers that noted sizes wrong, and take a little more.
        self.fetched += wanted.size
        return self._reader.read([wanted])[0]

    def read(self, size: int = -1) -> bytes:
        """The same as bytes; all that is left if size is negative."""
        return bytes(self.read_buffer(self._reader.size if size < 0 else size))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset from the start, from here or from the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._reader.size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """The offset of the next read."""
        return self._at

    def close(self) -> None:
        """Nothing is left open: the reader belongs to whoever made it."""
        self.drop()

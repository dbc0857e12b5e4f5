"""Open files of `tf.io.gfile` as pyarrow reads and writes them. What opens them is handed in: no TensorFlow here."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from tfpetastorm.stores.file_like import FileLike
from tfpetastorm.stores.gfile_errors import asked

#: Gives a new `tf.io.gfile.GFile` of the file.
Open: TypeAlias = "Callable[[], Any]"


class _File(FileLike):
    """An open file. scheme, path: which one it is, for errors."""

    def __init__(self, open_file: Open, scheme: str, path: str) -> None:
        self._open = open_file
        self._of = (scheme, path)


def _at_most(size: int, found: bytes) -> bytes:
    """What was read. Raises OSError if that is more than `size`, for which Arrow would have no room."""
    if len(found) > size:
        raise OSError(f"tf.io.gfile gave {len(found)} bytes where {size} were asked for")
    return found


class RangeFile(_File):
    """A file of `size` bytes, read in ranges.

    Each read opens it anew, which asks nothing of a store; open, it would keep half a megabyte for reading ahead.
    """

    def __init__(self, open_file: Open, size: int, scheme: str, path: str) -> None:
        super().__init__(open_file, scheme, path)
        self._size = size
        self._at = 0

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, fewer at the end of the file; all that is left if size is negative."""
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            # Never asked of the store: some of TensorFlow's drivers break on an empty range.
            return b""
        found = asked(*self._of, partial(self._fetched, wanted))
        self._at += len(found)
        return found

    def _fetched(self, size: int) -> bytes:
        with self._open() as file:
            # To go to the start would be another request.
            if self._at:
                file.seek(self._at)
            return _at_most(size, bytes(file.read(size)))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset from the start, from here or from the end."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """The offset of the next read."""
        return self._at


class StreamFile(_File):
    """A file of `size` bytes, read from its beginning."""

    seeks = False

    def __init__(self, open_file: Open, size: int, scheme: str, path: str) -> None:
        super().__init__(open_file, scheme, path)
        self._left = size
        self._file = asked(*self._of, open_file)

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, fewer at the end of the file; all that is left if size is negative."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        found = _at_most(wanted, bytes(asked(*self._of, partial(self._file.read, wanted)))) if wanted else b""
        self._left -= len(found)
        return found

    def close(self) -> None:
        """Let go of it."""
        if not self.closed:
            super().close()
            self._file.close()


class WrittenFile(_File):
    """A file being written. Most stores show it once it is closed."""

    reads = seeks = False

    def __init__(self, open_file: Open, scheme: str, path: str) -> None:
        super().__init__(open_file, scheme, path)
        self._size = 0
        self._file = asked(*self._of, open_file)
        # Opened by its first byte only, a file of none would never be there.
        asked(*self._of, partial(self._file.write, b""))

    def write(self, data: Any) -> int:
        """Add bytes."""
        found = bytes(data)
        asked(*self._of, partial(self._file.write, found))
        # Not all filesystems of TensorFlow tell where they are.
        self._size += len(found)
        return len(found)

    def tell(self) -> int:
        """How many bytes there are."""
        return self._size

    def close(self) -> None:
        """Make the file complete."""
        if not self.closed:
            super().close()
            asked(*self._of, self._file.close)

"""Ranges of one file on a store, fetched side by side, each tried again by itself."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import Place
from tfpetastorm.stores.patience import one_read_at_a_time
from tfpetastorm.stores.ranges import ByteRange
from tfpetastorm.stores.retrying import retried

#: Requests of one process under way at once: they wait for the store, not for the CPU.
_REQUESTS = 32


class Requests:
    """The threads that fetch ranges. Several readers share one; threads start when there is something to do side by
    side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def run(self, calls: Sequence[partial[pa.Buffer]]) -> list[pa.Buffer]:
        """What the calls return, in their order. Raises what the first of them, in order, raises."""
        if len(calls) < 2:
            return [call() for call in calls]
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_REQUESTS, "tfpetastorm-store")
            pending = [self._threads.submit(call) for call in calls]
        try:
            return [one.result() for one in pending]
        finally:
            for one in pending:
                one.cancel()

    def close(self) -> None:
        """Ends the threads; a later `run` starts them again."""
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)


class RangeReader:
    """One open file of a store. Threads may share it.

    size: bytes. Raises FileNotFoundError if there is no such file, StoreError if the store fails.
    """

    def __init__(self, filesystem: pafs.FileSystem, path: str, requests: Requests) -> None:
        self._filesystem = filesystem
        self._path = path
        self._requests = requests
        self._alone = one_read_at_a_time(filesystem)
        self._file, self.size = retried(partial(_opened, filesystem, path), "A file can't be opened", Place(path))

    def read(self, ranges: Sequence[ByteRange]) -> list[pa.Buffer]:
        """The bytes of each range, fetched side by side. Raises StoreError, or what the store says that trying again
        does not change."""
        return self._requests.run([partial(self._one, one) for one in ranges])

    def _one(self, wanted: ByteRange) -> pa.Buffer:
        place = Place(f"{self._path}, bytes {wanted.start} to {wanted.stop - 1}")
        return retried(partial(self._attempt, wanted), "Bytes can't be read", place)

    def _attempt(self, wanted: ByteRange) -> pa.Buffer:
        file = self._filesystem.open_input_file(self._path) if self._alone else self._file
        found = pa.py_buffer(file.read_at(wanted.size, wanted.start))
        if found.size != wanted.size:
            # Some clients take a connection that was cut for the end of the file.
            raise OSError(f"the store sent {found.size} of {wanted.size} bytes")
        return found


def _opened(filesystem: pafs.FileSystem, path: str) -> tuple[pa.NativeFile, int]:
    file = filesystem.open_input_file(path)
    return file, file.size()

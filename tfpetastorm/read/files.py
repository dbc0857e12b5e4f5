"""Open Parquet files: those of this machine as they are, those of stores by ranges fetched beforehand."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from tfpetastorm.errors import DatasetChangedError, Place, describe
from tfpetastorm.read.ranged_file import RangedFile
from tfpetastorm.storage.inventory import DataFile, Inventory
from tfpetastorm.stores.filesystem import is_local
from tfpetastorm.stores.range_reader import RangeReader, Requests
from tfpetastorm.stores.ranges import chunk_ranges

#: Parquet files kept open while nobody reads them. Row groups of one file mostly follow each other.
_OPEN_FILES = 64

#: Files on stores that are known to be there and what size they have, which is a request each. They hold no connection.
_KNOWN_FILES = 4096

#: Footers of wide tables with thousands of row groups exceed Thrift's defaults of 100 MB and 1,000,000 items.
_THRIFT_LIMIT = 2**31 - 1

#: A dictionary page with at most this many bytes a row of the whole chunk: the column really is dictionary-coded.
_DICTIONARY_BYTES_A_ROW = 5


#: A file's index in the inventory, and its columns of text.
_Key: TypeAlias = "tuple[int, tuple[str, ...]]"


@dataclass(frozen=True, eq=False)
class OpenFile:
    """A Parquet file. ranged: what it reads from, if it is on a store."""

    parquet: pq.ParquetFile
    ranged: RangedFile | None

    def read(self, ordinal: int, names: set[str]) -> tuple[pa.Table, int]:
        """Columns of a row group by their paths, and the bytes that had to be fetched for them."""
        ranges = chunk_ranges(self.parquet.metadata.row_group(ordinal), names)
        if self.ranged is None:
            table = self.parquet.read_row_group(ordinal, columns=sorted(names), use_threads=False)
            return table, sum(one.size for one in ranges)
        before = self.ranged.fetched
        try:
            self.ranged.hold(ranges)
            table = self.parquet.read_row_group(ordinal, columns=sorted(names), use_threads=False)
        finally:
            self.ranged.drop()
        return table, self.ranged.fetched - before


class OpenFiles:
    """The files of a dataset, opened when needed. Threads may share one; an open file is lent to one at a time.

    metadata: gives the footer of a file by its index, if it is at hand, so that it is not read again.
    """

    def __init__(
        self,
        filesystem: pafs.FileSystem,
        inventory: Inventory,
        metadata: Callable[[int], pq.FileMetaData | None] | None,
    ) -> None:
        self._filesystem = filesystem
        self._inventory = inventory
        self._metadata = metadata
        self._lock = threading.Lock()
        self._requests = Requests()
        # Those that nobody reads, the one used last at the end. Kept here and not by thread: TensorFlow's threads lose
        # their locals at the end of each call, and a file of pyarrow's that is written in Python, freed then, waits for
        # the lock that its own thread holds.
        self._idle: list[tuple[_Key, OpenFile]] = []
        self._readers: OrderedDict[int, RangeReader] = OrderedDict()
        self._footers: OrderedDict[int, pq.FileMetaData] = OrderedDict()

    @contextmanager
    def lent(self, file_index: int, texts: tuple[str, ...]) -> Iterator[OpenFile]:
        """A file by its index in the inventory, within a `with` block. texts: its columns of text, which stay
        dictionaries where the file has them so.

        After an exception the file is opened anew the next time. Raises DatasetChangedError if it has another size than
        it had, StoreError if a store fails; FileNotFoundError, OSError or pyarrow's exceptions if it can't be opened.
        """
        key = (file_index, texts)
        with self._lock:
            place = next((i for i, (other, _) in enumerate(self._idle) if other == key), None)
            file = None if place is None else self._idle.pop(place)[1]
        try:
            if file is None:
                file = self._open(file_index, texts)
            yield file
        except BaseException:
            self._forget(file_index)
            raise
        with self._lock:
            self._idle.append((key, file))
            surplus = self._idle[:-_OPEN_FILES]
            del self._idle[:-_OPEN_FILES]
        del surplus  # closed out of the lock

    def close(self) -> None:
        """Lets go of all files; a later `lent` opens them again."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._readers.clear()
        del idle
        self._requests.close()

    def _open(self, file_index: int, texts: tuple[str, ...]) -> OpenFile:
        data_file = self._inventory.files[file_index]
        if is_local(self._filesystem):
            handle, ranged = self._filesystem.open_input_file(data_file.path), None
            _check_size(data_file, handle.size())
        else:
            ranged = RangedFile(self._reader(file_index, data_file))
            handle = pa.PythonFile(ranged, mode="r")
        metadata = self._footer(file_index, handle)
        parquet = pq.ParquetFile(
            handle,
            metadata=metadata,
            read_dictionary=_dictionary_columns(metadata, texts),
            thrift_string_size_limit=_THRIFT_LIMIT,
            thrift_container_size_limit=_THRIFT_LIMIT,
        )
        return OpenFile(parquet, ranged)

    def _forget(self, file_index: int) -> None:
        with self._lock:
            idle = self._idle
            self._idle = [one for one in idle if one[0][0] != file_index]
            self._readers.pop(file_index, None)
            self._footers.pop(file_index, None)
        del idle

    def _reader(self, file_index: int, data_file: DataFile) -> RangeReader:
        with self._lock:
            known = self._readers.get(file_index)
        if known is None:
            known = RangeReader(self._filesystem, data_file.path, self._requests)
            _check_size(data_file, known.size)
            with self._lock:
                self._readers[file_index] = known
                while len(self._readers) > _KNOWN_FILES:
                    self._readers.popitem(last=False)
        return known

    def _footer(self, file_index: int, handle: pa.NativeFile) -> pq.FileMetaData:
        with self._lock:
            found = self._footers.get(file_index)
        if found is None:
            found = self._metadata(file_index) if self._metadata is not None else None
            if found is None:
                limits = {"thrift_string_size_limit": _THRIFT_LIMIT, "thrift_container_size_limit": _THRIFT_LIMIT}
                found = pq.ParquetFile(handle, **limits).metadata
            with self._lock:
                self._footers[file_index] = found
                while len(self._footers) > _OPEN_FILES:
                    self._footers.popitem(last=False)
        return found


def _check_size(data_file: DataFile, size: int) -> None:
    if data_file.size >= 0 and size != data_file.size:
        raise DatasetChangedError(
            describe(
                "A file has changed since the dataset was opened",
                Place(data_file.path),
                expected=f"{data_file.size} bytes",
                found=f"{size} bytes",
                remedy="Open the dataset again.",
            )
        )


def _dictionary_columns(metadata: pq.FileMetaData, texts: tuple[str, ...]) -> list[str]:
    """Text columns that the file keeps as dictionaries: read as such, each distinct string is made once."""
    if not texts or not metadata.num_row_groups:
        return []
    row_group, chosen = metadata.row_group(0), []
    for i in range(row_group.num_columns):
        chunk = row_group.column(i)
        coded = chunk.path_in_schema in texts and chunk.has_dictionary_page
        if coded and chunk.total_uncompressed_size <= _DICTIONARY_BYTES_A_ROW * chunk.num_values:
            chosen.append(chunk.path_in_schema)
    return chosen

"""A cache of decoded read tasks on a local disk, shared by threads, processes, datasets and epochs."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import DatasetWarning, OptionError, describe
from tfpetastorm.read.layout import Layout, array_at, column_at
from tfpetastorm.read.store import FOLDER, FileStore, Policy
from tfpetastorm.schema.columns import Column, Text


@dataclass(frozen=True, eq=False)
class Kept:
    """What an entry holds: decoded columns of `rows` rows, and stored columns for expressions, as Arrow has them."""

    rows: int
    columns: dict[str, Column]
    stored: dict[str, pa.Array]


class DiskCache:
    """Keeps what read tasks decode, so that a further epoch, process or dataset need not.

    path: a folder on a local disk, made if it is not there. What is kept lies in a folder of its own in it, which only
        its owner can read. Any number of processes may share it.
    size_limit_bytes: what all entries together may take.
    policy: what happens when there is no room: "lru" removes the entries that were not read for longest, "stop" keeps
        what there is. For an epoch that is larger than the bound, "stop" is better: "lru" removes each entry shortly
        before its turn comes again.
    transformed: whether rows are kept as they are after `transform=`, where that can be told from others (see
        docs/transforms-and-cache.md); else as they are before it. False is for transforms that draw random numbers.

    An entry is found by its file's path, size and time of modification, row group, rows, fields with their dtypes,
    shapes and codecs, and transform. `where=` and nulls are applied to what is found. An entry that is damaged counts
    as missing. A cache that can't be written to (a full disk) warns and keeps no more.

    Raises OptionError for malformed options and for a folder that is another user's.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        size_limit_bytes: int = 10 * 2**30,
        policy: Policy = "lru",
        *,
        transformed: bool = True,
    ) -> None:
        if not _is_local_path(path):
            raise OptionError(describe("A cache needs a folder", expected="the path of a local one", found=repr(path)))
        if not _is_size(size_limit_bytes):
            raise OptionError(
                describe("A cache needs a bound", expected="size_limit_bytes above 0", found=repr(size_limit_bytes))
            )
        if policy not in ("lru", "stop"):
            raise OptionError(describe("Unknown policy of a cache", expected='"lru" or "stop"', found=repr(policy)))
        self.path = os.path.abspath(os.fspath(path))  # noqa: PTH100  # a str, as JSON and messages want it
        self.size_limit_bytes = int(size_limit_bytes)
        self.policy: Policy = policy
        self.transformed = transformed
        self._lock = threading.Lock()
        self._full = False
        self._opened: FileStore | None = None

    @classmethod
    def of(cls, value: Any) -> DiskCache | None:
        """What `cache=` means: None, a DiskCache, or the path of one. Raises OptionError for anything else."""
        if value is None or isinstance(value, DiskCache):
            return value
        if isinstance(value, (str, os.PathLike)):
            return cls(value)
        raise OptionError(f"cache takes a DiskCache or the path of its folder, not {value!r}.")

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process opens it anew.
        return _again, (self.path, self.size_limit_bytes, self.policy, self.transformed)

    def __repr__(self) -> str:
        return f"DiskCache({self.path!r}, size_limit_bytes={self.size_limit_bytes}, policy={self.policy!r})"

    @property
    def store(self) -> FileStore:
        """Its files; the folder is made when it is first needed."""
        with self._lock:
            if self._opened is None:
                self._opened = FileStore(self.path, self.size_limit_bytes, self.policy)
            return self._opened

    @property
    def nbytes(self) -> int:
        """Bytes of all entries now."""
        return self.store.nbytes

    def __len__(self) -> int:
        """How many entries there are now."""
        return len(self.store)

    @property
    def folder(self) -> Path:
        """The folder of our own in `path`."""
        return Path(self.path) / FOLDER

    def close(self) -> None:
        """Makes no more entries, until `clear()`; those there are can still be read."""
        self._full = True

    def clear(self) -> None:
        """Removes all entries. What is in use stays whole for who uses it."""
        self.store.clear()
        self._full = False

    def load(self, key: str, rows: int, names: list[str]) -> Kept | None:
        """The entry of a key, with so many rows and these columns; None if there is none. Its arrays lie in a private
        mapping of the file: writing to them changes no entry."""
        found = self.store.read(key)
        if found is None:
            return None
        header, buffer, base = found
        if header.get("rows") != rows or list(header.get("columns", ())) != names:
            return None
        columns = {name: column_at(buffer, entry, base) for name, entry in header["columns"].items()}
        stored: dict[str, pa.Array] = {}
        if header["stored"] is not None:
            with pa.ipc.open_stream(pa.py_buffer(array_at(buffer, header["stored"], base))) as stream:
                table = stream.read_all().combine_chunks()
            stored = {name: _single(table[name]) for name in table.column_names}
        return Kept(rows, columns, stored)

    def keep(self, key: str, kept: Kept) -> bool:
        """Makes an entry; whether it was made. Warns, once, where the folder can't be written to."""
        if self._full:
            return False
        layout = Layout()
        header = {
            "rows": kept.rows,
            "columns": {name: layout.add_column(_trimmed(column)) for name, column in kept.columns.items()},
            "stored": layout.add(_stream(kept.stored)) if kept.stored else None,
        }
        try:
            return self.store.write(key, header, layout)
        except OSError as error:
            self._full = True
            warnings.warn(
                f"The cache in {self.path} can't be written to and keeps no more: {error}.",
                DatasetWarning,
                stacklevel=2,
            )
            return False


def _is_local_path(value: object) -> bool:
    return isinstance(value, (str, os.PathLike)) and bool(os.fspath(value)) and "://" not in str(value)


def _is_size(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) > 0


def _again(path: str, size_limit_bytes: int, policy: Policy, transformed: bool) -> DiskCache:
    return DiskCache(path, size_limit_bytes, policy, transformed=transformed)


def _trimmed(column: Column) -> Column:
    """The column without bytes of its text that belong to other rows of the row group."""
    text = column.values
    if not isinstance(text, Text) or not len(text.offsets):
        return column
    start, stop = int(text.offsets[0]), int(text.offsets[-1])
    if start == 0 and stop == len(text.data):
        return column
    return Column(
        Text(text.offsets - start, text.data[start:stop], text.codes), column.splits, column.valid, column.inner
    )


def _stream(arrays: Mapping[str, pa.Array]) -> Any:
    """Arrow's own form of the columns, as bytes."""
    batch = pa.record_batch(list(arrays.values()), names=list(arrays))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return np.frombuffer(sink.getvalue(), np.uint8)


def _single(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.array([], column.type)

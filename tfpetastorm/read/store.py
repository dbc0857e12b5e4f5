"""Entries of arrays in files of one folder, which processes share: whole or not there, checked, and bounded in size.

An entry is a file `<sha256 of its key>`: a prefix, a JSON header, and arrays as `read/layout.py` lays them. It is
written under another name and renamed into place, so that nobody sees a part of one; what a crash of the machine
leaves of it does not fit the checksum in its prefix, and is no entry. Nothing is unpickled.

`lock` holds the bytes that all entries take, those that are being written included: whoever writes locks it, adds what
it needs, and makes room first. A count that a killed process left too high is put right by looking at all files, which
is done where the folder seems full. A file that is being written is locked, so one that is not belongs to a process
that was killed, and is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import secrets
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash

from tfpetastorm.errors import OptionError, describe
from tfpetastorm.read.layout import Layout
from tfpetastorm.schema.columns import ALIGNMENT, empty_aligned

try:
    import fcntl as _fcntl
except ImportError:  # pragma: no cover
    # Windows has none: processes that share a folder there may keep more than the bound.
    _LOCKS: Any = None
else:
    _LOCKS = _fcntl

Policy = Literal["lru", "stop"]

_MAGIC = b"tfpcach1"
#: Magic, bytes of the header, bytes of the arrays, checksum.
_PREFIX = struct.Struct("<8sQQ16s")
#: The folder in the one that users name, so that only our own files are ever removed. Changes with the form of entries.
FOLDER = "tfpetastorm-cache-1"
#: Smaller files are read: each mapping holds a descriptor, of which a process may have only some thousand.
_MAPPED_BYTES = 4 << 20
#: Linux takes at most this many buffers in one writev (IOV_MAX).
_MAX_BUFFERS = 1024
#: A folder that is full and keeps what it has is counted again no sooner than this.
_RECOUNT_SECONDS = 10.0
#: Where room has to be made, this part of the bound is made free, so that not every entry has all files looked at.
_SLACK = 32


class FileStore:
    """Entries in a folder. Threads and processes may share it.

    path: the folder; made if it is not there. What is kept lies in a folder of its own in it, which only its owner can
    read. size_limit_bytes: what all entries may take. policy: "lru" removes those that were longest not read to make
    room, "stop" keeps what it has.

    Raises OptionError where the folder is another user's, OSError where it can't be made.
    """

    def __init__(self, path: str | os.PathLike[str], size_limit_bytes: int, policy: Policy) -> None:
        self.limit = size_limit_bytes
        self.policy = policy
        self.folder = Path(path) / FOLDER
        self._entries = self.folder / "entries"
        self._written = self.folder / "written"
        self._counted_at = -_RECOUNT_SECONDS
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.folder, self._entries, self._written):
            _private(folder)
        with self._locked():
            self._remove_orphans()

    # ------------------------------------------------------------------ entries

    def read(self, key: str) -> tuple[dict[str, Any], memoryview, int] | None:
        """The header of an entry, the content of its file, and where in it the arrays begin; None if there is none.

        The content of a large file is a mapping of it, but a private one: arrays in it may be written to, which changes
        no file. An entry that is damaged, or another key's, counts as none and is removed.
        """
        path = self._path(key)
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
        except OSError:
            return None
        try:
            size = os.fstat(handle).st_size
            found = _parsed(handle, size, key)
            if found is not None:
                # Read last: which is when it was last read, for those who make room.
                os.utime(handle if os.utime in os.supports_fd else path)
                return found
        except OSError:
            return None
        finally:
            os.close(handle)
        with contextlib.suppress(OSError), self._locked() as count:
            path.unlink()
            count.add(-size)
        return None

    def write(self, key: str, header: dict[str, Any], layout: Layout) -> bool:
        """Keeps an entry: a header (JSON; the name "key" is taken) and arrays. Whether it was kept: not if it takes
        more than the bound, there is no room and the policy is to stop, or the folder has gone.

        Raises OSError where it can't be written, such as on a full disk.
        """
        text = json.dumps({**header, "key": key}).encode()
        lead = _PREFIX.size + len(text)
        padding = bytes(-lead % ALIGNMENT)
        size = lead + len(padding) + layout.size
        prefix = _PREFIX.pack(_MAGIC, len(text), layout.size, _checksum([text, *layout.buffers]))
        path = self._path(key)
        if size > self.limit or path.exists():
            return False
        try:
            reserved = self._reserve(size)
            if reserved is None:
                return False
            written, handle = reserved
            whole = False
            try:
                _write(handle, [memoryview(prefix), memoryview(text), memoryview(padding), *layout.buffers])
                whole = True
            finally:
                try:
                    kept = self._put(written, path, size, whole)
                finally:
                    os.close(handle)
        except FileNotFoundError:
            # The folder was removed, and with it all that counts.
            return False
        return kept

    def _put(self, written: Path, path: Path, size: int, whole: bool) -> bool:
        """Renames a written file to an entry, or removes it; which of the two."""
        with self._locked() as count:
            # Locked, since two may have written the same entry.
            kept = whole and not path.exists()
            if kept:
                written.rename(path)
            else:
                written.unlink()
                count.add(-size)
            return kept

    def clear(self) -> None:
        """Removes all entries; those that are in use stay whole for who uses them."""
        with self._locked() as count:
            for entry in list(self._scan()):
                _unlink(entry.path)
            count.set(sum(self._being_written()))

    @property
    def nbytes(self) -> int:
        """Bytes of all entries."""
        return sum(entry.size for entry in self._scan())

    def __len__(self) -> int:
        return sum(1 for _ in self._scan())

    def _path(self, key: str) -> Path:
        return self._entries / hashlib.sha256(key.encode()).hexdigest()

    # ------------------------------------------------------------------ the bound

    def _reserve(self, size: int) -> tuple[Path, int] | None:
        """A file to write `size` bytes to, locked and counted, after making room if that is allowed; None if there is
        none. Raises FileNotFoundError if the folder has gone."""
        with self._locked() as count:
            if count.bytes is None or count.bytes + size > self.limit:
                now = time.monotonic()
                if self.policy == "stop" and now - self._counted_at < _RECOUNT_SECONDS:
                    return None
                self._counted_at = now
                self._make_room(count, size)
            if (count.bytes or 0) + size > self.limit:
                return None
            # Its size is in its name, for those who count while it is being written.
            path = self._written / f"{secrets.token_hex(8)}.{size}"
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
            _lock(handle, wait=False)
            count.add(size)
            return path, handle

    def _make_room(self, count: _Count, size: int) -> None:
        self._remove_orphans()
        entries = sorted(self._scan(), key=lambda entry: entry.read_at)
        total = sum(entry.size for entry in entries) + sum(self._being_written())
        if self.policy == "lru" and total + size > self.limit:
            enough = max(0, self.limit - self.limit // _SLACK - size)
            for entry in entries:
                if total <= enough:
                    break
                if _unlink(entry.path):
                    total -= entry.size
        count.set(total)

    def _scan(self) -> Iterator[_Entry]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._entries) as found:
            for item in found:
                with contextlib.suppress(OSError):
                    status = item.stat(follow_symlinks=False)
                    yield _Entry(item.path, status.st_size, status.st_mtime_ns)

    def _being_written(self) -> Iterator[int]:
        with contextlib.suppress(FileNotFoundError):
            for path in self._written.iterdir():
                with contextlib.suppress(ValueError):
                    yield int(path.name.rpartition(".")[2])

    def _remove_orphans(self) -> None:
        """Removes what processes that were killed had begun to write. Called with the lock held."""
        if _LOCKS is None:
            return
        with contextlib.suppress(FileNotFoundError):
            for path in self._written.iterdir():
                with contextlib.suppress(OSError):
                    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
                    try:
                        if _lock(handle, wait=False):
                            path.unlink()
                    finally:
                        os.close(handle)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[_Count]:
        """The count of bytes, locked. Raises FileNotFoundError if the folder has gone."""
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(handle, wait=True)
            yield _Count(handle)
        finally:
            os.close(handle)


@dataclass(frozen=True)
class _Entry:
    """path, size: of its file, in bytes. read_at: when it was last read, nanoseconds since 1970."""

    path: str
    size: int
    read_at: int


class _Count:
    """The bytes that the locked file says; None if it says none."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        try:
            self.bytes: int | None = int(os.pread(handle, 32, 0))
        except ValueError:
            self.bytes = None

    def add(self, size: int) -> None:
        if self.bytes is not None:
            self.set(self.bytes + size)

    def set(self, size: int) -> None:
        self.bytes = max(0, size)
        os.pwrite(self._handle, b"%-32d" % self.bytes, 0)


def _private(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "geteuid") and status.st_uid != os.geteuid()):
        raise OptionError(
            describe(
                "The folder of a cache belongs to someone else",
                expected=f"a folder of user {os.geteuid()} at {folder}",
                found=f"user {status.st_uid}" if stat.S_ISDIR(status.st_mode) else "no folder",
                remedy="Name another path: what is cached is for its owner only.",
            )
        )
    if status.st_mode & 0o077:
        folder.chmod(0o700)


def _lock(handle: int, wait: bool) -> bool:
    """Whether the file could be locked."""
    if _LOCKS is None:
        return True
    try:
        _LOCKS.flock(handle, _LOCKS.LOCK_EX | (0 if wait else _LOCKS.LOCK_NB))
    except OSError:
        return False
    return True


def _unlink(path: str) -> bool:
    try:
        Path(path).unlink()
    except OSError:
        return False
    return True


def _write(handle: int, buffers: list[memoryview]) -> None:
    waiting = [buffer for buffer in buffers if buffer.nbytes]
    start = 0
    while start < len(waiting):
        written = os.writev(handle, waiting[start : start + _MAX_BUFFERS])
        while start < len(waiting) and written >= waiting[start].nbytes:
            written -= waiting[start].nbytes
            start += 1
        if written:
            waiting[start] = waiting[start][written:]


def _content(handle: int, size: int) -> memoryview:
    """The bytes of an open file, aligned, which may be written to without changing it."""
    if size >= _MAPPED_BYTES:
        # Without a descriptor left, it is read.
        with contextlib.suppress(OSError):
            return memoryview(mmap.mmap(handle, size, access=mmap.ACCESS_COPY))
    content = memoryview(empty_aligned((size,), np.uint8).data)
    done = 0
    while done < size:
        read = os.preadv(handle, [content[done:]], done)
        if not read:
            raise OSError("the file has become shorter")
        done += read
    return content


def _parsed(handle: int, size: int, key: str) -> tuple[dict[str, Any], memoryview, int] | None:
    """What `FileStore.read` returns, of an open file; None if it is not the entry of `key`, whole."""
    if size < _PREFIX.size:
        return None
    content = _content(handle, size)
    magic, length, data, checksum = _PREFIX.unpack_from(content)
    start = _PREFIX.size + length
    start += -start % ALIGNMENT
    if magic != _MAGIC or start + data != size:
        return None
    text = bytes(content[_PREFIX.size : _PREFIX.size + length])
    if checksum != _checksum([text, content[start:]]):
        return None
    # Now it is what was written: its JSON and offsets need no further doubt.
    header = json.loads(text)
    return (header, content, start) if header.get("key") == key else None


def _checksum(parts: Sequence[Any]) -> bytes:
    """16 bytes that tell whether a header or arrays have changed. Forgers are kept out by the folder: this is a hash at
    the speed of memory, since another would cost as much as decoding a JPEG."""
    digest = xxhash.xxh3_128()
    for part in parts:
        digest.update(part)
    return digest.digest()

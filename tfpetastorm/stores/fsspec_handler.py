"""fsspec's filesystems as `pyarrow.fs` has them: exact ranges, no listings of before, no credentials in errors.

pyarrow's own `FSSpecHandler` opens files with fsspec's read-ahead, which fetches 5 MB and more for every footer, and
asks a cache of listings that others may have outdated.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.redaction import scrub, secrets_of_options
from tfpetastorm.stores.file_like import FileLike
from tfpetastorm.stores.retrying import IGNORES_RANGES, TELLS_NO_SIZE

_F = TypeVar("_F", bound=Callable[..., Any])

#: Filesystems around filesystems that are looked through.
_LAYERS = 9
#: Stores whose folders are only in the names of files. To make one could make a bucket, which nobody asked for.
_WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "obs", "oci"})
#: What drivers call the time of a file's last change, in `info`.
_TIMES = ("mtime", "LastModified", "last_modified", "updated")
#: Bytes that a stream asks for at first, and at most.
_FIRST_STEP, _LAST_STEP = 1 << 16, 8 << 20
#: Of the errors that a driver raises, only these say more than that it failed.
_KINDS: tuple[type[Exception], ...] = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    TimeoutError,
)
#: Classes, here or in a client, of errors that tell of a connection.
_CONNECTIONS = frozenset({"ConnectionError", "ClientConnectionError", "TimeoutError", "Timeout"})
#: What servers answer where there is nothing.
_ABSENT = (404, 410)


def _clean(method: _F) -> _F:
    """Has a method raise what the driver raises as OSError, without the credentials that the driver was given."""

    @wraps(method)
    def called(self: FsspecHandler | _Ranges, *given: Any, **named: Any) -> Any:
        try:
            return method(self, *given, **named)
        except Exception as error:  # noqa: BLE001 - whatever a third-party filesystem raises
            raised = without_secrets(error, self.fs)
        # Outside of the handling: the first error must not be shown as the context of the second.
        raise raised

    return cast(_F, called)


def without_secrets(error: Exception, fs: Any) -> Exception:
    """A driver's error as it may be shown: of what its class says, without the options that the driver was given."""
    trouble = _trouble(error)
    if trouble is not None:
        error = trouble
    text = scrub(str(error), secrets_of_options((fs.storage_args, fs.storage_options)))
    own = type(error).__module__ == "builtins"
    if own and text == str(error) and error.__cause__ is None and error.__context__ is None:
        return error
    # Clients have exceptions of their own for trouble with a network; what is built in means what it says.
    kinds = _KINDS if not own else (*_KINDS, ValueError, TypeError, NotImplementedError)
    for kind in kinds:
        if isinstance(error, kind):
            raised: Exception = kind(text)
            return raised
    return OSError(text or type(error).__name__)


def _trouble(error: BaseException) -> OSError | None:
    """What a server failed at, where a driver gives that as an answer of the server's, or in its own words.

    fsspec's http takes every failure for "there is no such file".
    """
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError) and not hasattr(error, "status"):
        return None
    cause: BaseException | None = error
    while cause is not None:
        status = getattr(cause, "status", None)
        if isinstance(status, int) and not isinstance(status, bool):
            absent = status in _ABSENT or status < 400
            if absent:
                return None
            said = getattr(cause, "message", "") or "no reason given"
            return OSError(f"HTTP status {status} ({said})" + ("" if error is cause else f": {error}"))
        if isinstance(error, FileNotFoundError) and _CONNECTIONS & {one.__name__ for one in type(cause).__mro__}:
            return OSError(f"{error}: {str(cause) or type(cause).__name__}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return None


class FsspecHandler(pafs.FSSpecHandler):
    """What `pyarrow.fs.PyFileSystem` asks of an fsspec filesystem. Can be pickled: workers connect by themselves."""

    fs: Any

    def __reduce__(self) -> Any:
        if _in_one_process(self.fs):
            raise TypeError("memory:// is the memory of one process, which others can't read")
        return FsspecHandler, (self.fs,)

    def get_type_name(self) -> str:
        """The first name of the filesystem's protocol, as `fsspec+s3`."""
        return f"fsspec+{_protocols(self.fs)[0]}"

    @_clean
    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        """What lies at each path now."""
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> pafs.FileInfo:
        self.fs.invalidate_cache(path)
        try:
            info = self.fs.info(path)
        except FileNotFoundError as error:
            if _trouble(error) is not None:
                raise
            return pafs.FileInfo(path, pafs.FileType.NotFound)
        return _file_info(path, info)

    @_clean
    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        """What lies in a folder now."""
        base = selector.base_dir
        self.fs.invalidate_cache()
        try:
            found = self.fs.find(base, maxdepth=None if selector.recursive else 1, withdirs=True, detail=True)
        except FileNotFoundError as error:
            if _trouble(error) is not None:
                raise
            found = {}
        infos = [_file_info(path, info) for path, info in found.items() if path.strip("/") != base.strip("/")]
        if not infos:
            kind = self._info(base).type
            if kind == pafs.FileType.File:
                raise NotADirectoryError(base)
            if kind == pafs.FileType.NotFound and not selector.allow_not_found:
                raise FileNotFoundError(base)
        return infos

    @_clean
    def create_dir(self, path: str, recursive: bool) -> None:
        """Make a folder, where the store has any."""
        if not _WITHOUT_FOLDERS & {*_protocols(self.fs)}:
            super().create_dir(path, recursive)

    @_clean
    def delete_dir(self, path: str) -> None:
        """Delete a folder and what is in it."""
        super().delete_dir(path)

    @_clean
    def delete_file(self, path: str) -> None:
        """Delete a file: one request, no listing."""
        try:
            self.fs.rm_file(path)
        except NotImplementedError:
            super().delete_file(path)
        except KeyError:  # of dictionaries that play a store
            raise FileNotFoundError(path) from None

    @_clean
    def move(self, src: str, dest: str) -> None:
        """Move a file or a folder: no single step on most stores."""
        super().move(src, dest)

    @_clean
    def copy_file(self, src: str, dest: str) -> None:
        """Copy a file."""
        super().copy_file(src, dest)

    @_clean
    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file to read ranges of. Nothing is asked of the store until it is read or its size is wanted."""
        return pa.PythonFile(_Ranges(self.fs, path), mode="r")

    @_clean
    def open_input_stream(self, path: str) -> pa.NativeFile:
        """A file to read from its beginning, in requests for more and more of it."""
        return pa.PythonFile(_Stream(_Ranges(self.fs, path)), mode="r")

    @_clean
    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """A file to write."""
        return pa.PythonFile(_Written(self.fs, path), mode="w")


class _Ranges(FileLike):
    """A file of which exactly the bytes asked for are fetched; each read is a request."""

    def __init__(self, fs: Any, path: str) -> None:
        self.fs = fs
        self._path = path
        self._at = 0
        self._size: int | None = None
        # Drivers that don't fetch ranges by themselves open the file for each, which then better stays open.
        self._file = None if _fetches_ranges(fs) else fs.open(path, "rb")

    @_clean
    def read_buffer(self, size: int) -> pa.Buffer:
        """The next `size` bytes, fewer at the end of the file."""
        stop = self._at + size if self._size is None else min(self._at + size, self._size)
        found = self._fetched(stop) if stop > self._at else b""
        # Arrow copies whatever it is handed to where it has room for what it asked for.
        most = stop - self._at
        if self._at > 0 and self._size is None and 0 < len(found) < most:
            # The end of the file, or else the whole of a short one.
            most = self.known_size() - self._at
        if len(found) > max(most, 0):
            raise OSError(
                f"the server {IGNORES_RANGES}: it sent {len(found)} bytes of {self._path} where {size} were asked for, "
                f"from byte {self._at} on. Have it serve ranges, or read a local copy"
            )
        self._at += len(found)
        return pa.py_buffer(found)

    def _fetched(self, stop: int) -> bytes:
        if self._file is not None:
            self._file.seek(self._at)
            return bytes(self._file.read(stop - self._at))
        try:
            return bytes(self.fs.cat_file(self._path, start=self._at, end=stop))
        except Exception as error:
            # Stores refuse a range that begins at the end of the file.
            refused = getattr(error, "status", None) == 416 or "range" in str(error).lower()
            if refused and self._at >= self.known_size():
                return b""
            raise

    def read(self, size: int | None = -1) -> bytes:
        """The same as bytes; all that is left if size is negative."""
        return bytes(self.read_buffer(self.known_size() - self._at if size is None or size < 0 else size))

    @_clean
    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to an offset from the start (0), from here (1) or from the end (2)."""
        self._at = offset + (0 if whence == 0 else self._at if whence == 1 else self.known_size())
        return self._at

    def tell(self) -> int:
        """The offset of the next read."""
        return self._at

    @_clean
    def known_size(self) -> int:
        """The file's bytes. Once they are known, nothing beyond them is asked for."""
        if self._size is None:
            if self._file is not None:
                self._size = self._file.seek(0, 2)
            else:
                self.fs.invalidate_cache(self._path)
                size = self.fs.info(self._path)["size"]
                if size is None:
                    raise OSError(f"the server {TELLS_NO_SIZE} of {self._path}. Read a local copy")
                self._size = int(size)
        return self._size

    def close(self) -> None:
        """Let go of what is open."""
        self.closed = True
        if self._file is not None:
            self._file.close()


class _Stream(FileLike):
    """A file read from its beginning: with what is asked for comes more, ever more as it goes on."""

    seeks = False

    def __init__(self, file: _Ranges) -> None:
        self._file = file
        self._ahead = b""
        self._step = _FIRST_STEP
        self._ended = False

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, fewer at the end of the file; all that is left if size is negative."""
        wanted = sys.maxsize if size is None or size < 0 else size
        parts, have = [self._ahead], len(self._ahead)
        while have < wanted and not self._ended:
            if self._step > _FIRST_STEP:
                # A server that sends the whole file for every range would otherwise be read again and again.
                self._file.known_size()
            asked = max(min(wanted - have, _LAST_STEP), self._step)
            part = self._file.read(asked)
            self._ended = len(part) < asked
            self._step = min(2 * self._step, _LAST_STEP)
            parts.append(part)
            have += len(part)
        found = b"".join(parts)
        self._ahead = found[wanted:]
        return found[:wanted]

    def close(self) -> None:
        """Let go of what is open."""
        self.closed = True
        self._ahead = b""
        self._file.close()


class _Written(FileLike):
    """A file being written, whose errors hold no credentials."""

    reads = seeks = False

    def __init__(self, fs: Any, path: str) -> None:
        self.fs = fs
        self._file = fs.open(path, "wb")

    @_clean
    def write(self, data: Any) -> int:
        """Add bytes."""
        return int(self._file.write(data))

    def tell(self) -> int:
        """How many bytes there are."""
        return int(self._file.tell())

    @_clean
    def flush(self) -> None:
        """Have the driver send what it holds, if it sends less than whole parts."""
        self._file.flush()

    @_clean
    def close(self) -> None:
        """Make the file complete."""
        self._file.close()
        self.closed = True


def _in_one_process(fs: Any) -> bool:
    """Whether files are in this process's memory: pickled, their filesystem would be an empty one elsewhere."""
    from fsspec.implementations.memory import MemoryFileSystem

    seen = 0
    # Folders that play the root, caches and the like are around another filesystem.
    while fs is not None and seen < _LAYERS:
        if isinstance(fs, MemoryFileSystem):
            return True
        # Caches answer for what they are around, also when asked for what is theirs.
        fs, seen = object.__getattribute__(fs, "__dict__").get("fs"), seen + 1
    return False


def _fetches_ranges(fs: Any) -> bool:
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractFileSystem

    return isinstance(fs, AsyncFileSystem) or type(fs).cat_file is not AbstractFileSystem.cat_file


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _file_info(path: str, info: dict[str, Any]) -> pafs.FileInfo:
    kind = {"file": pafs.FileType.File, "directory": pafs.FileType.Directory}.get(info["type"], pafs.FileType.Unknown)
    time = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(time, str):
        # "Z" is understood only from Python 3.11 on.
        time = datetime.fromisoformat(time.replace("Z", "+00:00"))
    seconds = time.timestamp() if isinstance(time, datetime) else time
    return pafs.FileInfo(path, kind, size=info["size"] if kind == pafs.FileType.File else None, mtime=seconds)

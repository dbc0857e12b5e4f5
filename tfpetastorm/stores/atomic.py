"""Replacing a file so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import Place
from tfpetastorm.stores.filesystem import is_local
from tfpetastorm.stores.retrying import retried

#: Filesystems beside the local one that rename in one step: Hadoop's, and those of TensorFlow that do.
_RENAMING = ("hdfs", "py::gfile+file", "py::gfile+hdfs", "py::gfile+ram", "py::gfile+viewfs")


def replace_file(filesystem: pafs.FileSystem, path: str, content: bytes, scratch: str | None = None) -> None:
    """Make `content` the file at `path` in one step, and on a local filesystem lasting through a power cut.

    scratch: a folder on the same filesystem for the file while it is written; by default that of `path`.
    Object stores show a file only once it is complete; on local filesystems and HDFS it is renamed into place.
    Raises `OSError` or one of pyarrow's exceptions, `StoreError` if a store fails; the old file is then still there.
    """
    if not renames(filesystem):
        retried(partial(_write, filesystem, path, content), "A file can't be written", Place(file=path))
        return
    folder, _, name = path.rpartition("/")
    written = f"{scratch or folder}/.{name}.{uuid.uuid4().hex}"
    try:
        _write(filesystem, written, content)
        if is_local(filesystem):
            flush(written)
        filesystem.move(written, path)
    except BaseException:
        with contextlib.suppress(OSError, pa.ArrowException):  # never made: the first error is the one to show
            filesystem.delete_file(written)
        raise
    if is_local(filesystem):
        flush(folder or "/")


def _write(filesystem: pafs.FileSystem, path: str, content: bytes) -> None:
    with open_new(filesystem, path) as file:
        file.write(content)


def open_new(filesystem: pafs.FileSystem, path: str) -> Any:
    """An output stream to the file at `path`, whose folder is made where files need one: object stores have none."""
    try:
        return filesystem.open_output_stream(path, compression=None)
    except FileNotFoundError:
        # Only now: on stores, asking for folders takes requests, and leaves objects that stand for them.
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        return filesystem.open_output_stream(path, compression=None)


@contextlib.contextmanager
def alone(filesystem: pafs.FileSystem, folder: str) -> Iterator[None]:
    """Within the block nobody else on this machine is in one of the same folder; who wants to be waits.

    So that a file can be replaced only if it is as it was. Without effect on stores, and where there are no locks.
    """
    handle = _locked(folder) if is_local(filesystem) else None
    try:
        yield
    finally:
        if handle is not None:
            import fcntl

            # Not by closing alone: a process that was forked meanwhile has the folder open too.
            fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)


def _locked(folder: str) -> int | None:
    try:
        import fcntl
    except ImportError:  # not POSIX
        return None
    try:
        handle = os.open(folder or "/", os.O_RDONLY)
    except OSError:  # not there, or not to be opened
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except BaseException as error:
        os.close(handle)
        if not isinstance(error, OSError):
            raise
        return None  # some network filesystems lock no folders
    return handle


def renames(filesystem: pafs.FileSystem) -> bool:
    """Whether a file can be moved in one step."""
    return is_local(filesystem) or filesystem.type_name in _RENAMING


def flush(path: str) -> None:
    """Have the local file or folder at `path` written to the disk."""
    with contextlib.suppress(PermissionError):  # some systems can't open a folder
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

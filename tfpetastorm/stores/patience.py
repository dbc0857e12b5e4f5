"""Stores that fail in passing: what is asked of them is asked again, before it is an error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import Place, StoreError
from tfpetastorm.stores.fsspec_handler import FsspecHandler
from tfpetastorm.stores.gfile_handler import GfileHandler
from tfpetastorm.stores.retrying import retried

_T = TypeVar("_T")

#: What using a filesystem may raise where it does not work.
TROUBLE = (OSError, pa.ArrowException, StoreError)

#: pyarrow's own clients of object stores. HDFS and the local disk look after themselves.
_STORES = tuple(
    getattr(pafs, name) for name in ("S3FileSystem", "GcsFileSystem", "AzureFileSystem") if hasattr(pafs, name)
)


def patient(filesystem: pafs.FileSystem) -> pafs.FileSystem:
    """The same filesystem, if it is no store; else one that tries again whatever may pass, and then raises StoreError.

    Not so the reading and writing of what is open: whoever reads knows which ranges to ask for again.
    """
    handler = getattr(filesystem, "handler", None)
    base = getattr(filesystem, "base_fs", filesystem)  # a folder that plays the root
    remote = isinstance(base, _STORES) or isinstance(handler, FsspecHandler)
    remote = remote or (isinstance(handler, GfileHandler) and handler.remote)
    return pafs.PyFileSystem(StoreHandler(filesystem)) if remote else filesystem


def one_read_at_a_time(filesystem: pafs.FileSystem) -> bool:
    """Whether reads of one open file wait for each other, and opening it again costs nothing: fsspec's files."""
    inner = getattr(getattr(filesystem, "handler", None), "filesystem", filesystem)
    return isinstance(getattr(inner, "handler", None), FsspecHandler)


def on_fsspec(fs: Any) -> pafs.FileSystem:
    """An fsspec filesystem as `pyarrow.fs` has it, and as patient; one that only stands for pyarrow's is just that."""
    kind = type(fs)
    if (kind.__module__, kind.__name__) == ("fsspec.implementations.local", "LocalFileSystem"):
        return pafs.LocalFileSystem()
    if kind.__module__ == "fsspec.implementations.arrow" and isinstance(getattr(fs, "fs", None), pafs.FileSystem):
        return patient(fs.fs)
    return patient(pafs.PyFileSystem(FsspecHandler(fs)))


class StoreHandler(pafs.FileSystemHandler):
    """What `pyarrow.fs.PyFileSystem` asks of a store. Files that it opens are the store's own, as fast as before.

    filesystem: the store. Can be pickled if that can: workers connect by themselves.
    """

    def __init__(self, filesystem: pafs.FileSystem) -> None:
        self.filesystem = filesystem

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoreHandler) and bool(self.filesystem == other.filesystem)

    def __hash__(self) -> int:
        return hash(type(self))

    def __reduce__(self) -> Any:
        return StoreHandler, (self.filesystem,)

    def get_type_name(self) -> str:
        """The store's own name, such as `s3`."""
        return str(self.filesystem.type_name.removeprefix("py::"))

    def normalize_path(self, path: str) -> str:
        """The path as the store has it."""
        return str(self.filesystem.normalize_path(path))

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        """What lies at each path."""
        return _asked("It can't be told what is there", paths[0] if paths else "", self.filesystem.get_file_info, paths)

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        """What lies in a folder."""
        return _asked("A folder can't be listed", selector.base_dir, self.filesystem.get_file_info, selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        """Make a folder."""
        _asked("A folder can't be made", path, partial(self.filesystem.create_dir, recursive=recursive), path)

    def delete_dir(self, path: str) -> None:
        """Delete a folder and what is in it."""
        _asked("A folder can't be deleted", path, self.filesystem.delete_dir, path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Delete what is in a folder."""
        delete = partial(self.filesystem.delete_dir_contents, missing_dir_ok=missing_dir_ok)
        _asked("A folder can't be emptied", path, delete, path)

    def delete_root_dir_contents(self) -> None:
        """Never done: nobody wants to delete all buckets."""
        raise NotImplementedError("deleting everything that a store holds")

    def delete_file(self, path: str) -> None:
        """Delete a file."""
        _asked("A file can't be deleted", path, self.filesystem.delete_file, path)

    def move(self, src: str, dest: str) -> None:
        """Move a file; not tried again, since a first try may have done a part of it."""
        self.filesystem.move(src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        """Copy a file."""
        _asked("A file can't be copied", src, self.filesystem.copy_file, src, dest)

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """A file to read from its beginning."""
        open_stream = partial(self.filesystem.open_input_stream, compression=None)
        return _asked("A file can't be opened", path, open_stream, path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file to read ranges of."""
        return _asked("A file can't be opened", path, self.filesystem.open_input_file, path)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """A file to write."""
        open_stream = partial(self.filesystem.open_output_stream, compression=None, metadata=metadata or None)
        return _asked("A file can't be written", path, open_stream, path)

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Never done: object stores can't."""
        raise NotImplementedError("adding to a file of a store")


def _asked(what: str, path: str, call: Callable[..., _T], *given: Any) -> _T:
    return retried(partial(call, *given), what, Place(path))

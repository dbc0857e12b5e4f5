"""TensorFlow's filesystems (`tf.io.gfile`) as `pyarrow.fs` has them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, MissingPackageError, OptionError
from tfpetastorm.redaction import redact
from tfpetastorm.stores.gfile import gfile, schemes, why_not
from tfpetastorm.stores.gfile_errors import asked
from tfpetastorm.stores.gfile_files import RangeFile, StreamFile, WrittenFile

#: Filesystems with folders of their own, and renames that show a file whole or not at all.
_WITH_FOLDERS = ("file", "ram", "hdfs", "viewfs")
#: On this machine: what fails will fail again.
_HERE = ("file", "ram")
#: Requests under way at once while a folder is listed: `tf.io.gfile` tells the size of one file at a time.
_THREADS = 16
_MISSING, _FILE, _FOLDER = pafs.FileType.NotFound, pafs.FileType.File, pafs.FileType.Directory


def gfile_filesystem(scheme: str) -> pafs.FileSystem:
    """The filesystem that `tf.io.gfile` has for URLs of a scheme, to be given as `filesystem=`.

    scheme: such as "ram", "gs" or "file", or with tensorflow-io "s3", "az", "hdfs" and others. Paths on it are what
    follows "://" in a URL. It is found by itself for a URL that neither `pyarrow.fs` nor fsspec serves.

    Raises `MissingPackageError` for a scheme of tensorflow-io where that is not installed or can't be, saying what
    serves instead, and `OptionError` for one that TensorFlow does not know at all.
    """
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", str(scheme)):
        raise OptionError(f"a scheme is a word such as 's3', not {redact(str(scheme))!r}.")
    reason = why_not(scheme)
    if reason:
        raise MissingPackageError(f"tf.io.gfile does not know {scheme}://: {reason}")
    known = schemes(scheme)
    if scheme not in known:
        raise OptionError(f"tf.io.gfile does not know {scheme}://, only {', '.join(sorted(known))}.")
    return pafs.PyFileSystem(GfileHandler(scheme))


class GfileHandler(pafs.FileSystemHandler):
    """What `pyarrow.fs.PyFileSystem` asks of a filesystem of TensorFlow.

    scheme: that of its URLs. remote: whether what fails may succeed later. Can be pickled, but for "ram": a worker
    process loads TensorFlow when it first reads.
    """

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.remote = scheme not in _HERE
        self._module: Any = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GfileHandler) and self.scheme == other.scheme

    def __hash__(self) -> int:
        return hash((type(self), self.scheme))

    def __reduce__(self) -> Any:
        if self.scheme == "ram":
            raise TypeError("ram:// is the memory of one process, which others can't read")
        return GfileHandler, (self.scheme,)

    def path_of(self, url: str) -> str:
        """The path that a URL of this scheme, or a path, means here.

        Raises OptionError for another scheme, and DatasetError if it holds credentials: TensorFlow's filesystems take
        them from elsewhere, and would tell these in errors.
        """
        scheme, separator, path = url.partition("://")
        if not separator:
            return url
        if scheme.lower() not in (self.scheme, *(("s3a", "s3n") if self.scheme == "s3" else ())):
            raise OptionError(f"filesystem= serves {self.scheme}://, but the dataset is {redact(url)}.")
        host = path.partition("/")[0]
        port = host.partition(":")[2]
        # The name of a file may hold an "@"; but a password may hold a "/", too.
        if "@" in host or ("@" in path and port and not port.isdigit()):
            raise DatasetError(
                f"{redact(url)} holds a user name or password, which tf.io.gfile has no use for. Leave it out: "
                "TensorFlow's filesystems take credentials from the environment."
            )
        return path

    def get_type_name(self) -> str:
        """`gfile+` and the scheme."""
        return f"gfile+{self.scheme}"

    def normalize_path(self, path: str) -> str:
        """The path as it is."""
        return path

    # How TensorFlow is asked.

    def _url(self, path: str) -> str:
        if self.scheme == "file":
            # Of file://a/b TensorFlow takes "a" for a host, and /b for the path.
            path = path if path.startswith("/") else os.path.abspath(path)  # noqa: PTH100 - links stay as they are
        # Object stores know a bucket only by its "/".
        return f"{self.scheme}://{path}{'/' if self.remote and '/' not in path else ''}"

    def _gfile(self) -> Any:
        # Loaded here and not where this was made: a worker process gets it pickled.
        if self._module is None:
            self._module = gfile(self.scheme)
        return self._module

    def _ask(self, function: str, path: str, *others: str, **options: Any) -> Any:
        call = partial(getattr(self._gfile(), function), *map(self._url, (path, *others)), **options)
        return asked(self.scheme, path, call)

    def _open(self, path: str, mode: str) -> Callable[[], Any]:
        return partial(self._gfile().GFile, self._url(path), mode)

    # What is there.

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        """What lies at each path now."""
        if len(paths) < 2 or not self.remote:
            return [self._info(path) for path in paths]
        self._gfile()  # loaded by one thread
        with ThreadPoolExecutor(min(_THREADS, len(paths)), "tfpetastorm-gfile") as threads:
            return list(threads.map(self._info, paths))

    def _info(self, path: str) -> pafs.FileInfo:
        try:
            found = self._ask("stat", path)
        except FileNotFoundError:
            self._check_absent(path)
            return pafs.FileInfo(path, _MISSING)
        if found.is_directory:
            return pafs.FileInfo(path, _FOLDER if self._is_folder(path) else _MISSING)
        # Filesystems without times say 0. A time that never changes would hide that a file did.
        return pafs.FileInfo(path, _FILE, size=found.length, mtime_ns=found.mtime_nsec or None)

    def _check_absent(self, path: str) -> None:
        """tensorflow-io's S3 says "not found" to `stat` for a server that fails or refuses, too. Reading tells."""
        key = path.rstrip("/")
        if self.scheme == "s3" and "/" in key:
            try:
                RangeFile(self._open(key, "rb"), 1, self.scheme, key).read(1)
            except FileNotFoundError:
                return

    def _is_folder(self, path: str) -> bool:
        """Whether there really is a folder: to TensorFlow's memory, "a" is one if there is a file "ab/c"."""
        path = path.rstrip("/")
        if self.scheme != "ram" or not path:
            return True
        # One that was made is in the folder above; one that only files tell of has some that are there.
        above = path[: path.rfind("/") + 1]
        try:
            if path in self._names([above]):
                return True
        except FileNotFoundError:
            return False
        return any(self._info(one).type != _MISSING for one in self._names([path]))

    def _names(self, folders: list[str]) -> list[str]:
        """The paths of all that is in these folders."""
        paths = []
        for folder in folders:
            base = folder if folder.endswith("/") or not folder else f"{folder}/"
            # Some end the names of folders with "/", and some tell of the object that stands for the folder itself.
            names = {name.strip("/") for name in self._ask("listdir", folder)} - {""}
            paths += [base + name for name in sorted(names)]
        return paths

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        """What lies in a folder now: a request a file, many side by side."""
        kind = self._info(selector.base_dir).type
        if kind == _MISSING and selector.allow_not_found:
            return []
        if kind != _FOLDER:
            raise (FileNotFoundError if kind == _MISSING else NotADirectoryError)(selector.base_dir)
        found: list[pafs.FileInfo] = []
        folders = [selector.base_dir]
        while folders:
            infos = [info for info in self.get_file_info(self._names(folders)) if info.type != _MISSING]
            found += infos
            folders = [info.path for info in infos if selector.recursive and info.type == _FOLDER]
        return found

    # Changes.

    def create_dir(self, path: str, recursive: bool) -> None:
        """Make a folder, where the filesystem has any."""
        if self.scheme in _WITH_FOLDERS:
            self._ask("makedirs" if recursive else "mkdir", path)

    def delete_dir(self, path: str) -> None:
        """Delete a folder and what is in it."""
        if self._info(path).type != _FOLDER:
            raise FileNotFoundError(path)
        self._delete_folder(path)

    def _delete_folder(self, path: str) -> None:
        if self.scheme != "ram":
            self._ask("rmtree", path)
            return
        # TensorFlow's own way stumbles over what it wrongly lists.
        inside = self.get_file_info_selector(pafs.FileSelector(path, recursive=True))
        for name in [*sorted((info.path for info in inside), reverse=True), path]:
            # A folder that only its files told of is gone with them.
            with contextlib.suppress(FileNotFoundError):
                self._ask("remove", name)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Delete what is in a folder."""
        kind = self._info(path).type
        if kind == _MISSING and missing_dir_ok:
            return
        if kind != _FOLDER:
            raise FileNotFoundError(path)
        for info in self.get_file_info(self._names([path])):
            if info.type == _FOLDER:
                self._delete_folder(info.path)
            else:
                self._ask("remove", info.path)

    def delete_root_dir_contents(self) -> None:
        """Never done: nobody wants to delete all that a store holds."""
        raise NotImplementedError("deleting everything that a filesystem holds")

    def delete_file(self, path: str) -> None:
        """Delete a file."""
        # TensorFlow's memory would delete a folder and keep what is in it, S3 says nothing where there is nothing.
        self._size(path)
        self._ask("remove", path)

    def move(self, src: str, dest: str) -> None:
        """Move a file in one step, over what is there. NotImplementedError where that would be a copy."""
        if self.scheme not in _WITH_FOLDERS:
            raise NotImplementedError(f"{self.scheme}:// has no renames: a move would be a copy, seen half done")
        if self.scheme == "ram":
            self._size(src)  # of a folder it would move the name alone
        self._ask("rename", src, dest, overwrite=True)

    def copy_file(self, src: str, dest: str) -> None:
        """Copy a file, over what is there."""
        self._make_parent(dest)
        self._ask("copy", src, dest, overwrite=True)

    def _make_parent(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        if folder and self.scheme in _WITH_FOLDERS and self._info(folder).type == _MISSING:
            self._ask("makedirs", folder)

    # Files.

    def _size(self, path: str) -> int:
        """A file's bytes. Raises FileNotFoundError or IsADirectoryError if it is none."""
        info = self._info(path)
        if info.type != _FILE:
            raise (FileNotFoundError if info.type == _MISSING else IsADirectoryError)(path)
        return int(info.size)

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file to read ranges of. TensorFlow fetches half a megabyte at a time."""
        size = self._size(path)
        return pa.PythonFile(RangeFile(self._open(path, "rb"), size, self.scheme, path), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """A file to read from its beginning."""
        size = self._size(path)
        return pa.PythonFile(StreamFile(self._open(path, "rb"), size, self.scheme, path), mode="r")

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """A file to write; its folder is made."""
        self._make_parent(path)
        if self.scheme == "ram" and self._info(path).type == _FILE:
            # TensorFlow's memory adds to a file that it should write anew.
            self._ask("remove", path)
        return pa.PythonFile(WrittenFile(self._open(path, "wb"), self.scheme, path), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Never done: few of these filesystems can."""
        raise NotImplementedError("adding to a file")

"""Making written files part of a dataset, all at once.

A reader takes for data only what `_common_metadata` lists, and that file is replaced in one step, last. Until then:

- on a local filesystem new files lie in a hidden folder of the dataset's root, `.tfpetastorm-<token>/`, and are renamed
  to their names just before; elsewhere they are written under their names, unlisted;
- a new dataset has a `_common_metadata` that says "writing", so that its files are not taken for plain Parquet, and an
  old dataset without a list gets one of its old files.

Whatever is killed leaves the earlier dataset as it was. The hidden folder is locked while its writer lives and holds a
journal of the files it is about to add or delete, by which the next writer cleans up after one that died.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, DatasetExistsError, Place, describe
from tfpetastorm.storage.atomic import flush, replace_file
from tfpetastorm.storage.filesystem import is_local, join
from tfpetastorm.storage.listing import is_data_name, parquet_like, parquet_names
from tfpetastorm.storage.metadata import (
    COMMON_METADATA,
    FILES_KEY,
    CommonMetadata,
    ListedFile,
    common_metadata_bytes,
    files_json,
    read_common_metadata,
)
from tfpetastorm.storage.sidecar import SIDECAR_NAME

Mode = Literal["error", "append", "overwrite"]

_PREFIX = ".tfpetastorm-"
_LOCK = "lock"
_JOURNAL = "journal.json"
#: Made from the old data by others; wrong once the data changes.
_STALE = ("_metadata", "._metadata.crc", "._common_metadata.crc")


class Commit:
    """One writer's changes to the dataset at `root`, invisible until `finish`.

    existing: the dataset's metadata as it was, or None if there is none. files: the files it then had, by name.
    token: unique to this writer.
    """

    def __init__(self, filesystem: pafs.FileSystem, root: str, mode: Mode, url: str) -> None:
        self._filesystem = filesystem
        self._root = root
        self._url = url
        self._metadata_path = join(root, COMMON_METADATA)
        self.token = uuid.uuid4().hex[:12]
        self._hidden = join(root, _PREFIX + self.token) if is_local(filesystem) else None
        self._lock: IO[Any] | None = None
        self._written: list[str] = []
        self._marked = False
        self._before = self._metadata_now()
        self._fresh_root = filesystem.get_file_info([root])[0].type == pafs.FileType.NotFound
        names = self._look(mode)
        # An empty folder is no dataset, and neither is one whose writer never finished.
        self._fresh = self.existing is None and not names
        self.mode: Mode = "error" if self._fresh else mode
        self.files: Mapping[str, ListedFile] = names

    def _look(self, mode: Mode) -> dict[str, ListedFile]:
        """The files the dataset has now; sets `existing` unless its writer never finished."""
        self.existing: CommonMetadata | None = None
        found = self._filesystem.get_file_info(pafs.FileSelector(self._root, allow_not_found=True, recursive=True))
        by_name = {posixpath.relpath(info.path, self._root): info for info in found}
        unfinished = False
        if COMMON_METADATA in by_name:
            metadata = read_common_metadata(self._filesystem, self._metadata_path)
            unfinished = not metadata.finished
            self.existing = None if unfinished else metadata
        names: dict[str, ListedFile] = {}
        if self.existing is not None and self.existing.files is not None:
            names = dict(self.existing.files)
        elif not unfinished:
            plain = [name for name, info in by_name.items() if info.type == pafs.FileType.File and is_data_name(name)]
            # What is about to be replaced is deleted in the end, so the name alone does not do.
            names = {
                name: ListedFile() for name in parquet_names(plain) if parquet_like(name) or self._is_parquet(name)
            }
        if mode == "error" and (names or self.existing is not None):
            raise DatasetExistsError(
                f"{self._url} holds a dataset already. Give mode='append' or mode='overwrite', or another place."
            )
        if mode == "append" and names and (self.existing is None or self.existing.kind == "parquet"):
            raise DatasetError(f"{self._url} is plain Parquet without a Unischema. It can't be appended to.")
        if mode == "append" and names and self.existing is not None and self.existing.files is None:
            raise DatasetError(f"{self._url} has no list of its files. It can't be appended to.")
        return names

    def _is_parquet(self, name: str) -> bool:
        with self._filesystem.open_input_stream(join(self._root, name), compression=None) as file:
            return bool(file.read(4) == b"PAR1")

    def start(self, columns: pa.Schema) -> None:
        """Mark the dataset before anything is written. columns: what its files will hold.

        Raises `DatasetError` if another writer has committed since this object was made.
        """
        self._filesystem.create_dir(self._root, recursive=True)
        if self._hidden is not None:
            self._filesystem.create_dir(self._hidden)
            self._lock = _locked(Path(self._hidden, _LOCK))
            self._clear_dead_writers()
        self._check_unchanged()
        if self._fresh:
            self._replace_metadata(columns, {FILES_KEY: files_json({}, writing=self.token)})
        elif self.existing is None or self.existing.files is None:
            # Plain Parquet: whatever is in the folder is data, so say first what is.
            pairs = dict(self.existing.pairs) if self.existing is not None else {}
            kept = self.existing.columns if self.existing is not None and self.existing.columns else columns
            self._replace_metadata(kept, {**pairs, FILES_KEY: files_json(self.files)})
        else:
            return
        self._marked = True

    def path_for(self, name: str) -> str:
        """Where to write the file that will be `name`. Its folder is made."""
        path = join(self._hidden, name) if self._hidden is not None else join(self._root, name)
        if is_local(self._filesystem):
            self._filesystem.create_dir(posixpath.dirname(path), recursive=True)
        self._written.append(name)
        return path

    def finish(self, files: Mapping[str, ListedFile], columns: pa.Schema, pairs: Mapping[bytes, bytes]) -> None:
        """Make `files` the dataset, with the key-value pairs `pairs` in its metadata.

        files: all files it then has; those of before that are not among them are deleted afterwards.
        Raises `DatasetError` if another writer has committed meanwhile; nothing is changed then.
        """
        self._check_unchanged()
        old = [name for name in self.files if name not in files]
        if self._hidden is not None:
            self._publish(old)
        # A checksum of the old metadata would make Hadoop refuse the new.
        self._delete(["._common_metadata.crc"])
        self._replace_metadata(columns, pairs)
        self._delete([*old, *(_STALE if self.mode != "error" else ()), *((SIDECAR_NAME,) if old else ())])
        self._delete_empty_folders(old)
        self._leave()

    def abort(self) -> None:
        """Remove whatever was written; the earlier dataset stays as it was."""
        if self._hidden is None:
            self._delete(self._written)
        # The store may be gone, which is why the writer gives up: what is left hides what it wrote all the same.
        with contextlib.suppress(OSError, pa.ArrowException):
            if self._marked and self._metadata_now() == self._before:
                if self.existing is not None and self.existing.columns is not None:
                    self._replace_metadata(self.existing.columns, self.existing.pairs)
                else:
                    self._delete([COMMON_METADATA])
        self._leave()
        if self._fresh_root and is_local(self._filesystem):
            with contextlib.suppress(OSError):
                Path(self._root).rmdir()  # only if it is empty

    def _check_unchanged(self) -> None:
        if self._metadata_now() != self._before:
            raise DatasetError(
                describe(
                    "another writer has changed the dataset meanwhile",
                    Place(file=self._metadata_path),
                    remedy="Nothing of it was lost, and nothing was added. Write again, one writer at a time.",
                )
            )

    def _publish(self, old: list[str]) -> None:
        assert self._hidden is not None
        journal = json.dumps({"names": [*self._written, *old]}).encode()
        replace_file(self._filesystem, join(self._hidden, _JOURNAL), journal)
        for name in self._written:
            flush(join(self._hidden, name))
        folders = sorted({posixpath.dirname(join(self._root, name)) for name in self._written})
        for folder in folders:
            self._filesystem.create_dir(folder, recursive=True)
        for name in self._written:
            self._filesystem.move(join(self._hidden, name), join(self._root, name))
        for folder in folders:
            flush(folder)

    def _replace_metadata(self, columns: pa.Schema, pairs: Mapping[bytes, bytes]) -> None:
        content = common_metadata_bytes(columns, pairs)
        replace_file(self._filesystem, self._metadata_path, content, self._hidden)
        self._before = content

    def _metadata_now(self) -> bytes:
        try:
            with self._filesystem.open_input_stream(self._metadata_path, compression=None) as file:
                return bytes(file.read())
        except FileNotFoundError:
            return b""

    def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            # Absent, or not ours to delete: what is left is not listed, so nobody takes it for data.
            with contextlib.suppress(OSError, pa.ArrowException):
                self._filesystem.delete_file(join(self._root, name))

    def _delete_empty_folders(self, names: Iterable[str]) -> None:
        if not is_local(self._filesystem):
            return
        for folder in sorted({posixpath.dirname(name) for name in names} - {""}, reverse=True):
            path = Path(self._root, folder)
            while path != Path(self._root):
                with contextlib.suppress(OSError):
                    path.rmdir()
                path = path.parent

    def _leave(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._hidden is not None:
            with contextlib.suppress(OSError):
                self._filesystem.delete_dir(self._hidden)

    def _clear_dead_writers(self) -> None:
        """Delete what writers that died have left: their hidden folders, and files they never listed or unlisted."""
        for folder in sorted(Path(self._root).glob(_PREFIX + "*")):
            if str(folder) == self._hidden:
                continue
            with contextlib.suppress(OSError, ValueError):
                lock = _locked(folder / _LOCK)
                if lock is None:
                    continue
                with lock:
                    # Once it is known to be dead: what it committed last may be newer than this writer's view.
                    self._check_unchanged()
                    if (folder / _JOURNAL).exists():
                        names = json.loads((folder / _JOURNAL).read_text())["names"]
                        self._delete(name for name in names if name not in self.files)
                        self._delete_empty_folders(names)
                    self._filesystem.delete_dir(str(folder))


def _locked(path: Path) -> IO[Any] | None:
    """The file at `path`, open and locked until it is closed or its process ends; None if another holds it."""
    try:
        import fcntl
    except ImportError:  # not POSIX: nobody can tell whether a writer lives
        return None
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file

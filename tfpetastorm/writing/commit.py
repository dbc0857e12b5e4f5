"""Making written files part of a dataset, all at once.

A reader takes for data only what `_common_metadata` lists, and that file is replaced in one step, last. Until then:

- on a local filesystem new files lie in a hidden folder of the dataset's root, `.tfpetastorm-<token>/`, and are renamed
  to their names just before; elsewhere they are written under their names, unlisted;
- a new dataset has a `_common_metadata` that says "writing", so that its files are not taken for plain Parquet, and an
  old dataset without a list gets one of its old files.

Whatever is killed leaves the earlier dataset as it was, and the next writer cleans up after it (`leftovers.py`).

What a store's client gives up on, the store may complete later. So once the last step was begun on one, and nobody
knows how it ended, new files stay: a list of them may come yet. Writers elsewhere than on a local filesystem, where a
lock sees to that, reach it one by one (`intent.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, DatasetExistsError, Place, StoreError, describe
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
from tfpetastorm.stores.atomic import alone, flush, replace_file
from tfpetastorm.stores.filesystem import is_local, join
from tfpetastorm.stores.patience import TROUBLE
from tfpetastorm.stores.retrying import reason_of, retried
from tfpetastorm.writing import intent, lease, leftovers

Mode = Literal["error", "append", "overwrite"]

#: Made from the old data by others; wrong once the data changes.
_STALE = ("_metadata", "._metadata.crc", "._common_metadata.crc")
_NUMBERED = re.compile(r"part-(\d+)")


@dataclass(frozen=True)
class Begun:
    """What another process must know to go on with a commit that was begun.

    token: unique to it. mode: "error" where there was no dataset. before: digest of the metadata that must still be
    there in the end. undo: what takes back the mark that was set. root_made: whether the folder was made for it.
    first, digits: the number that new files have in their names, so that they sort behind the dataset's own.
    """

    token: str
    mode: Mode
    before: str
    undo: Literal["nothing", "delete", "unlist"] = "nothing"
    root_made: bool = False
    first: int = 0
    digits: int = 6

    @property
    def prefix(self) -> str:
        """What new files' names begin with."""
        return f"part-{self.first:0{self.digits}d}"


class Commit:
    """One writer's changes to the dataset at `root`, invisible until `finish`. See `JobCommit` for those of several.

    existing: the dataset's metadata as it was, or None if there is none. files: the files it then had, by name.
    mode, token: those of `Begun`.
    """

    def __init__(self, filesystem: pafs.FileSystem, root: str, mode: Mode, url: str) -> None:
        self._place(filesystem, root, url, uuid.uuid4().hex[:12])
        self._before = self._metadata_now()
        self._root_made = self._info(root).type == pafs.FileType.NotFound
        names = self._look(mode)
        # An empty folder is no dataset, and neither is one whose writer never finished.
        self._fresh = self.existing is None and not names
        self.mode: Mode = "error" if self._fresh else mode
        self.files: Mapping[str, ListedFile] = names
        self._first, self._digits = _numbering(names) if mode == "append" else (0, 6)

    def _place(self, filesystem: pafs.FileSystem, root: str, url: str, token: str) -> None:
        self._filesystem = filesystem
        self._root = root
        self._url = url
        self._metadata_path = join(root, COMMON_METADATA)
        self.token = token
        #: Where jobs have their marker, and on local filesystems all writers their files.
        self.hidden = join(root, leftovers.PREFIX + token)
        self._staged = is_local(filesystem)
        self._marked = False
        self._lock: IO[Any] | None = None
        self._written: list[str] = []
        self._final: str | None = None
        self._undo: Literal["nothing", "delete", "unlist"] = "nothing"
        self._hidden_folders: list[str] = []

    def _look(self, mode: Mode) -> dict[str, ListedFile]:
        """The files the dataset has now; sets `existing` unless its writer never finished."""
        self.existing: CommonMetadata | None = None
        found = self._list(self._root)
        by_name = {posixpath.relpath(info.path, self._root): info for info in found}
        self._hidden_folders = [n.partition("/")[0] for n in by_name if n.startswith(leftovers.PREFIX)]
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
                name: ListedFile()
                for name in parquet_names(plain)
                if parquet_like(name) or self._read(join(self._root, name), 4) == b"PAR1"
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

    @property
    def begun(self) -> Begun:
        """What a `JobCommit` goes on by, once this was started."""
        return Begun(self.token, self.mode, self._before, self._undo, self._root_made, self._first, self._digits)

    @property
    def changed(self) -> bool:
        """Whether another writer has committed since this one began, or this one itself did."""
        return self._metadata_now() != self._before

    def start(self, columns: pa.Schema, lease_seconds: float | None = None) -> None:
        """Mark the dataset before anything is written. columns: what its files will hold.

        lease_seconds: begins a job, which other processes go on with by `begun`; it must give a sign of life at least
        so often. Raises `DatasetError` if another writer has committed since this object was made.
        """
        self._filesystem.create_dir(self._root, recursive=True)
        folders = self._hidden_folders
        if self._staged:
            self._filesystem.create_dir(self.hidden)
            self._lock = leftovers.make_locked(Path(self.hidden))
            folders = [path.name for path in Path(self._root).glob(leftovers.PREFIX + "*")]
        if lease_seconds is not None:
            self._marked = True
            lease.mark(self._filesystem, self.hidden, lease_seconds)
        leftovers.clear_dead(self._filesystem, self._root, self.token, self.files, folders, self._check_unchanged)
        with alone(self._filesystem, self._root):
            self._check_unchanged()
            self._mark(columns)

    def _mark(self, columns: pa.Schema) -> None:
        if self._fresh:
            pairs = {FILES_KEY: files_json({}, writing=self.token)}
            self._replace_metadata(common_metadata_bytes(columns, pairs))
            self._undo = "delete"
        elif self.existing is None or self.existing.files is None:
            # Plain Parquet: whatever is in the folder is data, so say first what is.
            pairs = dict(self.existing.pairs) if self.existing is not None else {}
            kept = self.existing.columns if self.existing is not None and self.existing.columns else columns
            pairs[FILES_KEY] = files_json(self.files)
            self._replace_metadata(common_metadata_bytes(kept, pairs))
            self._undo = "delete" if self.existing is None or self.existing.columns is None else "unlist"

    def detach(self) -> None:
        """Leave a job that was started to other processes."""
        self._unlock()

    def base_name(self, number: int) -> str:
        """The name, in its folder, of the writer's file of this number."""
        return f"part-{self._first + number:0{self._digits}d}-{self.token}.parquet"

    def path_for(self, name: str) -> str:
        """Where to write the file that will be `name`."""
        path = join(self.hidden if self._staged else self._root, name)
        self._written.append(name)
        return path

    def finish(self, files: Mapping[str, ListedFile], columns: pa.Schema, pairs: Mapping[bytes, bytes]) -> None:
        """Make `files` the dataset, with the key-value pairs `pairs` in its metadata.

        files: all files it then has; those of before that are not among them are deleted afterwards.
        Raises `DatasetError` if another writer has committed meanwhile; nothing is changed then.
        """
        old = [name for name in self.files if name not in files]
        content = common_metadata_bytes(columns, pairs)
        interrupted: BaseException | None = None
        with intent.exclusive(self._filesystem, self._root, self.token, self._check_unchanged) as sure:
            self._check_unchanged()
            self._publish(old)
            # A checksum of the old metadata would make Hadoop refuse the new.
            leftovers.delete(self._filesystem, self._root, ["._common_metadata.crc"])
            with self._announced():
                # As late as can be: nothing keeps others from going on where there are no locks.
                if not self._staged:
                    self._check_unchanged()
                self._check_open()
                sure()
            interrupted = self._last_step(content)
            self._look_behind(files)
        stale = [*(_STALE if self.mode != "error" else ()), *((SIDECAR_NAME,) if old else ())]
        leftovers.delete(self._filesystem, self._root, [*old, *stale])
        leftovers.delete_empty_folders(self._filesystem, self._root, old)
        self._leave(files)
        if interrupted is not None:
            raise interrupted

    @contextlib.contextmanager
    def _announced(self) -> Iterator[None]:
        """The last checks before the last step; by what they raise, it does not come."""
        yield

    def _last_step(self, content: bytes) -> BaseException | None:
        """Replace the metadata. Returns what interrupted that, if it was done nevertheless.

        Raises `StoreError` if nobody knows whether it was done.
        """
        self._final = _digest(content)
        try:
            self._replace_metadata(content)
        except BaseException as error:
            if self._staged:
                raise
            done = False
            with contextlib.suppress(*TROUBLE):
                done = self._metadata_now() == self._final
            if done:
                self._before = self._final
                return None if isinstance(error, TROUBLE) else error
            unknown = self._unknown(error if isinstance(error, TROUBLE) else None)
            if isinstance(error, TROUBLE):
                raise unknown from None
            if hasattr(error, "add_note"):  # from Python 3.11 on
                error.add_note(str(unknown))
            raise
        return None

    def _look_behind(self, files: Iterable[str]) -> None:
        """Raise `DatasetError`, the earlier metadata put back, if somebody deleted what is part of the dataset now."""

    def _unknown(self, error: BaseException | None) -> StoreError:
        reason = "" if error is None else ": " + reason_of(error).partition(". Check the address")[0]
        return StoreError(
            describe(
                f"it is not known whether the dataset was changed, for its last step was cut short{reason}",
                Place(file=self._metadata_path),
                remedy="The store may complete it yet. Wait some minutes, then look whether the rows are there; if "
                "not, write again, or commit the job again with the same parts. Files that were written stay: they "
                "are read only if the dataset lists them, and may be deleted if it does not.",
            )
        )

    def abort(self) -> None:
        """Remove whatever was written; the earlier dataset stays as it was.

        Not so behind a last step of which nobody knows how it ended: the dataset may come to list what was written.
        """
        # The store may be gone, which is why the writer gives up: what is left hides what it wrote all the same.
        with contextlib.suppress(*TROUBLE, DatasetError), alone(self._filesystem, self._root):
            now = self._metadata_now()
            # Interrupted behind its last step, a commit counts.
            if now != self._final and (self._staged or self._final is None):
                self._undo_all(marked=now == self._before)
        self._leave(self.files)
        if self._root_made and self._staged:
            with contextlib.suppress(OSError):
                Path(self._root).rmdir()  # only if it is empty

    def _undo_all(self, *, marked: bool) -> None:
        # A commit that failed or died half-way has given files their names already.
        names = leftovers.noted(self._filesystem, self.hidden) if self._staged else self._written
        names = [name for name in names if name not in self.files]
        leftovers.delete(self._filesystem, self._root, names)
        leftovers.delete_empty_folders(self._filesystem, self._root, names)
        if marked and self._undo == "delete":
            leftovers.delete(self._filesystem, self._root, [COMMON_METADATA])
        elif marked and self._undo == "unlist":
            metadata = read_common_metadata(self._filesystem, self._metadata_path)
            assert metadata.columns is not None
            pairs = {key: value for key, value in metadata.pairs.items() if key != FILES_KEY}
            self._replace_metadata(common_metadata_bytes(metadata.columns, pairs))

    def _leave(self, files: Iterable[str]) -> None:
        """Delete what the writer has beside the dataset's files. files: those that stay."""
        self._unlock()
        if self._staged or self._marked:
            leftovers.delete_hidden(self._filesystem, self.hidden)

    def _check_open(self) -> None:
        """Raise `DatasetError` if somebody took this writer for dead."""

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _check_unchanged(self) -> None:
        if self.changed:
            raise DatasetError(
                describe(
                    "another writer has changed the dataset meanwhile",
                    Place(file=self._metadata_path),
                    remedy="Nothing of it was lost, and nothing was added. Write again, one writer at a time.",
                )
            )

    def _publish(self, old: list[str]) -> None:
        """Give files their names, where they have others. old: those to be deleted afterwards."""
        if not self._staged:
            return
        leftovers.note(self._filesystem, self.hidden, [*self._written, *old])
        staged = self._still_staged()
        for name in staged:
            flush(join(self.hidden, name))
        folders = sorted({posixpath.dirname(join(self._root, name)) for name in self._written})
        for folder in folders:
            self._filesystem.create_dir(folder, recursive=True)
        for name in staged:
            self._filesystem.move(join(self.hidden, name), join(self._root, name))
        for folder in folders:
            flush(folder)

    def _still_staged(self) -> list[str]:
        """Which files have yet to be given their names."""
        return self._written

    def _replace_metadata(self, content: bytes) -> None:
        scratch = self.hidden if self._staged or self._marked else None
        replace_file(self._filesystem, self._metadata_path, content, scratch)
        self._before = _digest(content)

    def _metadata_now(self) -> str:
        """The digest of the metadata as it is, "" if there is none."""
        try:
            return _digest(self._read(self._metadata_path))
        except FileNotFoundError:
            return ""

    def _info(self, path: str) -> pafs.FileInfo:
        return self._filesystem.get_file_info([path])[0]

    def _list(self, folder: str) -> list[pafs.FileInfo]:
        found: list[pafs.FileInfo] = self._filesystem.get_file_info(
            pafs.FileSelector(folder, allow_not_found=True, recursive=True)
        )
        return found

    def _read(self, path: str, size: int | None = None) -> bytes:
        """The first bytes of a file, or all. What a store's client fails at in reading is tried again."""

        def read() -> bytes:
            with self._filesystem.open_input_stream(path, compression=None) as file:
                return bytes(file.read() if size is None else file.read(size))

        return read() if self._staged else retried(read, "A file can't be read", Place(file=path))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if content else ""


def _numbering(names: Iterable[str]) -> tuple[int, int]:
    """The number of the first new file and how many digits it has, so that it sorts behind all `names`."""
    found = [match.group(1) for name in names if (match := _NUMBERED.match(posixpath.basename(name)))]
    # As text, as names are ordered: Spark's numbers have five digits, ours six.
    last = max(found, default="")
    if not last:
        return 0, 6
    # Where there is no room for numbers behind it, there is between it and the next.
    last += "000000" if len(last) < 5 or last.startswith("9") else ""
    return int(last) + 1, len(last)

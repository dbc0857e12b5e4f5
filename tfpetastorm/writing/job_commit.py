"""Going on, in another process, with a commit that `Commit.start` began for a job of several writers."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, Place, describe
from tfpetastorm.storage.metadata import FILES_KEY, CommonMetadata, ListedFile, read_common_metadata
from tfpetastorm.stores.filesystem import join
from tfpetastorm.stores.patience import TROUBLE
from tfpetastorm.writing import lease, leftovers
from tfpetastorm.writing.commit import Begun, Commit


class JobCommit(Commit):
    """The changes of a job to the dataset at `root`, to be finished or aborted.

    existing, files: what the dataset has now; that is what it had before, unless it was `changed`.
    """

    def __init__(self, filesystem: pafs.FileSystem, root: str, url: str, begun: Begun) -> None:
        self._place(filesystem, root, url, begun.token)
        self._before, self._undo, self._root_made = begun.before, begun.undo, begun.root_made
        self._first, self._digits = begun.first, begun.digits
        self.mode = begun.mode
        self._look_again()

    def _look_again(self) -> None:
        self.existing: CommonMetadata | None = None
        if self._info(self._metadata_path).type == pafs.FileType.File:
            metadata = read_common_metadata(self._filesystem, self._metadata_path)
            self.existing = metadata if metadata.finished else None
        self.files: Mapping[str, ListedFile] = dict(self.existing.files or {}) if self.existing is not None else {}

    @property
    def open(self) -> bool:
        """Whether the job was neither committed nor aborted, nor given up as dead."""
        return bool(self._info(join(self.hidden, lease.JOB)).type == pafs.FileType.File)

    @property
    def committed(self) -> dict[str, ListedFile] | None:
        """The dataset's files that this job wrote, or None if it was not committed."""
        if self.existing is None:
            return None
        mine = {name: self.files[name] for name in leftovers.of_token(self.files, self.token)}
        # Without rows there are no files to tell.
        said = f'"writer": "{self.token}"'.encode() in self.existing.pairs.get(FILES_KEY, b"")
        return mine if mine or said else None

    def hold(self) -> None:
        """Keep other processes from finishing or aborting the job at the same time, where that can be done.

        What is known of the dataset is read anew. Raises `DatasetError` if another does so now, or the job is over, but
        not if it was `committed` meanwhile.
        """
        try:
            self._hold()
        except DatasetError:
            self._look_again()
            if self.committed is None:
                raise
        else:
            self._look_again()

    def finish(self, files: Mapping[str, ListedFile], columns: pa.Schema, pairs: Mapping[bytes, bytes]) -> None:
        """See `Commit.finish`. That another process has committed the same meanwhile is no error."""
        try:
            super().finish(files, columns, pairs)
        except DatasetError:
            with contextlib.suppress(*TROUBLE):
                self._look_again()
            if self.committed != {name: files[name] for name in leftovers.of_token(files, self.token)}:
                raise

    def _hold(self) -> None:
        if self._staged:
            self._check_open()
            try:
                self._lock = leftovers.lock(Path(self.hidden, leftovers.LOCK))
            except BlockingIOError:
                what = "another process is committing or aborting this job just now"
                raise DatasetError(describe(what, Place(file=self._root))) from None
            except FileNotFoundError:  # over since
                self._check_open()
        lease.join_job(self._filesystem, self.hidden, "commit")

    def written(self) -> dict[str, int]:
        """The sizes of the files that the job's writers have made, by name, with all others of the dataset."""
        found = {info.path: info.size for info in self._list(self._root) if info.type == pafs.FileType.File}
        names = {posixpath.relpath(path, self._root): size for path, size in found.items()}
        hidden = leftovers.PREFIX + self.token + "/"
        # A commit that died has given some their names already.
        return {name.removeprefix(hidden): size for name, size in sorted(names.items())}

    def path_of(self, name: str) -> str:
        """Where a file of the job lies now."""
        staged = join(self.hidden, name)
        return staged if self._staged and Path(staged).exists() else join(self._root, name)

    def take(self, names: Iterable[str]) -> None:
        """The files that `finish` makes part of the dataset."""
        self._written = list(names)

    def clean_up(self) -> None:
        """Do what a commit had left to do that died behind its last step."""
        names = [name for name in leftovers.noted(self._filesystem, self.hidden) if name not in self.files]
        leftovers.delete(self._filesystem, self._root, names)
        leftovers.delete_empty_folders(self._filesystem, self._root, names)
        self._leave(self.files)

    def _publish(self, old: list[str]) -> None:
        if self._staged:
            super()._publish(old)
        elif old:
            leftovers.note(self._filesystem, self.hidden, old)

    def _still_staged(self) -> list[str]:
        return [name for name in self._written if Path(self.hidden, name).exists()]

    def _check_open(self) -> None:
        lease.check_open(self._filesystem, self.hidden)

    def _leave(self, files: Iterable[str]) -> None:
        # First of all, so that writers still at work see that the job is over.
        leftovers.delete(self._filesystem, self.hidden, [lease.JOB])
        if not self._staged:
            with contextlib.suppress(*TROUBLE, DatasetError):
                names = (posixpath.relpath(info.path, self._root) for info in self._list(self._root))
                kept = set(files)
                mine = [name for name in leftovers.of_token(names, self.token) if name not in kept]
                leftovers.delete(self._filesystem, self._root, mine)
        self._marked = True
        super()._leave(files)

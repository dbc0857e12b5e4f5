"""Going on, in another process, with a commit that `Commit.start` began for a job of several writers."""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, Place, describe
from tfpetastorm.storage.metadata import FILES_KEY, CommonMetadata, ListedFile, read_common_metadata
from tfpetastorm.stores.atomic import replace_file
from tfpetastorm.stores.filesystem import join
from tfpetastorm.stores.patience import TROUBLE
from tfpetastorm.writing import intent, lease, leftovers
from tfpetastorm.writing.commit import Begun, Commit

#: Says which files the commits add that have begun their last step.
ATTEMPT = "attempt.json"
#: Seconds after which no store completes what its client gave up on.
SETTLED_SECONDS = 900.0


class JobCommit(Commit):
    """The changes of a job to the dataset at `root`, to be finished or aborted.

    existing, files: what the dataset has now; that is what it had before, unless it was `changed`.
    """

    def __init__(self, filesystem: pafs.FileSystem, root: str, url: str, begun: Begun) -> None:
        self._place(filesystem, root, url, begun.token)
        self._before, self._undo, self._root_made = begun.before, begun.undo, begun.root_made
        self._first, self._digits = begun.first, begun.digits
        self.mode = begun.mode
        self._marked = True
        self._settled = False
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
            return
        self._earlier = self._read(self._metadata_path)
        if old:
            leftovers.note(self._filesystem, self.hidden, old)

    def _still_staged(self) -> list[str]:
        return [name for name in self._written if Path(self.hidden, name).exists()]

    def _check_open(self) -> None:
        lease.check_open(self._filesystem, self.hidden)

    @contextlib.contextmanager
    def _announced(self) -> Iterator[None]:
        if self._staged:
            yield
            return
        before = self._attempted()
        # In this order: who aborts the job deletes its mark first, then looks whether this is there.
        attempt = json.dumps({"names": sorted({*before, *self._written})}).encode()
        replace_file(self._filesystem, self._attempt, attempt)
        try:
            yield
        except BaseException:
            if not before:
                leftovers.delete(self._filesystem, self.hidden, [ATTEMPT])
            raise

    def _look_behind(self, files: Iterable[str]) -> None:
        if self._staged:
            return
        there = self.written()
        missing = [name for name in self._written if name not in there]
        if missing:
            self._replace_metadata(self._earlier)
            self._final = None
            what = "a file that was handed over was deleted during the commit"
            remedy = "The dataset is as it was before. Somebody may have aborted the job; write again."
            raise DatasetError(describe(what, Place(file=missing[0]), remedy=remedy))

    @property
    def _attempt(self) -> str:
        return join(self.hidden, ATTEMPT)

    def _attempted(self) -> list[str]:
        """The files of commits that were begun and may be completed yet."""
        try:
            return list(json.loads(self._read(self._attempt))["names"])
        except FileNotFoundError:
            return []

    def abort(self) -> None:
        """See `Commit.abort`. Raises `DatasetError` if a commit is under way, or if its outcome is not known yet."""
        if not self._staged:
            self._withdraw()
            if self.committed is not None:
                self.clean_up()
                return
            self._settled = True
        super().abort()

    def _withdraw(self) -> None:
        """End the job, unless a commit is at its last step or may have been just now."""
        self._check_settled()
        seconds = lease.signs(self._filesystem, self.hidden).seconds
        if self.open:
            with contextlib.suppress(FileNotFoundError):
                self._filesystem.delete_file(join(self.hidden, lease.JOB))
        try:
            # In this order: a commit announces itself first, then looks whether the job is still open.
            self._check_settled()
        except DatasetError:
            lease.mark(self._filesystem, self.hidden, seconds)
            self._look_again()
            if self.committed is None:
                raise
        self._look_again()

    def _check_settled(self) -> None:
        info = self._info(self._attempt)
        if info.type != pafs.FileType.File:
            return
        now = lease.now(self._filesystem, self.hidden, self.token)
        if intent.age(self._filesystem, info, now) <= SETTLED_SECONDS:
            raise DatasetError(
                describe(
                    "a commit of this job is under way, or was cut short and may be completed by the store yet",
                    Place(file=self._attempt),
                    remedy="The job stays as it is. Commit it again with the same parts, or abort it in "
                    f"{SETTLED_SECONDS / 60:.0f} minutes.",
                )
            )

    def _leave(self, files: Iterable[str]) -> None:
        # First of all, so that writers still at work see that the job is over.
        leftovers.delete(self._filesystem, self.hidden, [lease.JOB])
        if not self._staged:
            leftovers.delete(self._filesystem, self._root, [leftovers.COMMITTING + self.token])
            with contextlib.suppress(*TROUBLE, DatasetError):
                names = [posixpath.relpath(info.path, self._root) for info in self._list(self._root)]
                attempted = [] if self._settled else self._attempted()
                # Last: another process may have committed the job meanwhile.
                self._look_again()
                kept = {*files, *self.files, *attempted}
                mine = [name for name in leftovers.of_token(names, self.token) if name not in kept]
                leftovers.delete(self._filesystem, self._root, mine)
        super()._leave(files)

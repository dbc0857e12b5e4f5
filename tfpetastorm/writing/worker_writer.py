"""One of the writers of a job: rows in, files and their description out."""

from __future__ import annotations

import uuid
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpetastorm.errors import DatasetError, OptionError
from tfpetastorm.stores.filesystem import Location, is_local, join
from tfpetastorm.writing import lease, leftovers
from tfpetastorm.writing.parts import PartWriter
from tfpetastorm.writing.row_writer import RowWriter
from tfpetastorm.writing.written_part import MOST_WRITERS, WrittenFile, WrittenPart, base_name

if TYPE_CHECKING:
    from tfpetastorm.writing.parallel import ParallelWrite


class WorkerWriter(RowWriter):
    """Writes some rows of a job, as `DatasetWriter` does. Use it in a `with` statement, then hand on `written`.

    If the statement ends by an exception, or the process dies, nothing of it counts; another writer of the same index
    may try again.
    """

    def __init__(self, job: ParallelWrite, location: Location, index: Any, workers: int | None, progress: bool) -> None:
        whole = isinstance(index, (int, np.integer)) and not isinstance(index, bool)
        if not whole or not 0 <= index < MOST_WRITERS:
            raise OptionError(f"index={index!r} is none of 0 to {MOST_WRITERS - 1:,}.")
        self._job = job
        self._index = int(index)
        self._target = _Target(job, location, self._index)
        parts = PartWriter(location.filesystem, self._target, job.schema, job.options.sizes, job.options.compression)
        super().__init__(location.paths[0], job.schema, job.options, parts, workers, progress)
        self._description: WrittenPart | None = None
        self._target.open()
        self._heartbeat = lease.Heartbeat(
            location.filesystem, self._target.hidden, self._target.writer, job.lease_hours * 3600
        )
        # A writer that was dropped without a word must not keep its job alive.
        weakref.finalize(self, self._heartbeat.end)

    @property
    def written(self) -> WrittenPart:
        """What was written. Raises `DatasetError` before the writer is closed, or if it was aborted."""
        if self._description is None:
            found = "open" if self._state == "open" else "aborted"
            raise DatasetError(f"writer {self._index} of {self._where} is {found}: close it to learn what it wrote.")
        return self._description

    def _finish(self) -> None:
        self._heartbeat.stop()
        # Anybody may have taken the job for dead up to now; from here on it has its whole lease again.
        self._target.open()
        sizes = self._parts.file_bytes
        files = tuple(
            WrittenFile(name, sizes[name], listed.row_groups or 0, listed.rows or 0)
            for name, listed in sorted(self._parts.files.items())
        )
        self._description = WrittenPart(self._job.token, self._index, self._target.writer, files)

    def _drop(self) -> None:
        self._heartbeat.stop()
        self._target.remove()


class _Target:
    """Where one writer's files go. writer: unique to it."""

    def __init__(self, job: ParallelWrite, location: Location, index: int) -> None:
        self._filesystem, self._root = location.filesystem, location.paths[0]
        self._job = job
        self._index = index
        self._made: list[str] = []
        self.writer = uuid.uuid4().hex[:8]
        self.hidden = join(self._root, leftovers.PREFIX + job.token)
        self._folder = self.hidden if is_local(self._filesystem) else self._root

    def open(self) -> None:
        """Give a sign of life. Raises `DatasetError` if the job is over."""
        lease.join_job(self._filesystem, self.hidden, self.writer)

    def base_name(self, number: int) -> str:
        """The name, in its folder, of the writer's file of this number."""
        return base_name(self._job.begun.prefix, self._index, number, self._job.token, self.writer)

    def path_for(self, name: str) -> str:
        """Where to write the file that will be `name`."""
        lease.check_open(self._filesystem, self.hidden)
        self._made.append(name)
        return join(self._folder, name)

    def remove(self) -> None:
        """Delete what was written, as far as that goes."""
        leftovers.delete(self._filesystem, self._folder, self._made)
        leftovers.delete(self._filesystem, self.hidden, [lease.ALIVE + self.writer])

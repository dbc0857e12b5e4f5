"""`ParallelWrite`: one dataset written by several processes, on one machine or many, and committed once."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, TypeVar

from tfpetastorm.errors import DatasetError, OptionError, Place, PoolError, describe
from tfpetastorm.redaction import redact
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.footers import read_footers
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.storage.metadata import ListedFile
from tfpetastorm.stores.filesystem import Location, Url, is_local, resolve
from tfpetastorm.writing import transaction
from tfpetastorm.writing.commit import Begun, Mode
from tfpetastorm.writing.job_commit import JobCommit
from tfpetastorm.writing.worker_writer import WorkerWriter
from tfpetastorm.writing.write_options import WriteOptions
from tfpetastorm.writing.written_part import WrittenFile, WrittenPart, files_of

_VERSION = 1
_Task = TypeVar("_Task")


@dataclass(frozen=True, repr=False)
class ParallelWrite:
    """A job of several writers on one dataset: begun once, written to by any number of them, committed once.

    `begin` makes one; pickled, or as JSON, it can be sent anywhere and used there: no process needs to live from begin
    to commit. Until the commit nothing can be seen by readers; whatever dies, the earlier dataset is as it was. The
    rows' order is that of the writers' indexes, then that in which each wrote. As a context manager it is aborted in
    the end, unless it was committed.

    schema: of the rows. options: how they become files. begun: the state of the dataset. lease_hours: how long the job
    may be silent before a later writer takes it for dead. url, filesystem: where, with any credentials it was given.
    """

    url: str
    schema: Unischema
    options: WriteOptions
    begun: Begun
    lease_hours: float = 24.0
    filesystem: Any = None

    @classmethod
    def begin(
        cls,
        url: Url,
        schema: Unischema | None,
        *,
        row_group_rows: int | None = None,
        row_group_size_mb: float = 32,
        file_rows: int | None = None,
        file_size_mb: float | None = 1024,
        partition_by: Sequence[str] = (),
        mode: Mode = "error",
        compression: str = "snappy",
        filesystem: Any = None,
        petastorm_compatible: bool = True,
        lease_hours: float = 24.0,
    ) -> ParallelWrite:
        """Begin a job. Arguments, and what is raised, are those of `DatasetWriter`.

        lease_hours: a job without a sign of life for so long may be cleaned up by a later writer. Open writers give
        signs of life; what counts is the time before the first, after the last, and between them.
        """
        if not 0 < lease_hours < math.inf:
            raise OptionError(f"lease_hours={lease_hours!r} is no time; give a number above 0.")
        options = WriteOptions(
            row_group_rows,
            row_group_size_mb,
            file_rows,
            file_size_mb,
            (partition_by,) if isinstance(partition_by, str) else tuple(partition_by),
            compression,
            petastorm_compatible,
        )
        started = transaction.begin(url, schema, mode, options, filesystem)
        try:
            started.start(lease_hours * 3600)
        except BaseException:
            started.commit.abort()
            raise
        started.commit.detach()
        location = started.location
        # Workers may have another working directory.
        place = location.paths[0] if is_local(location.filesystem) else os.fspath(url)  # type: ignore[arg-type]
        return cls(place, started.schema, started.options, started.commit.begun, float(lease_hours), filesystem)

    @property
    def token(self) -> str:
        """Unique to this job; its files' names hold it."""
        return self.begun.token

    def __repr__(self) -> str:
        return f"ParallelWrite({redact(self.url)!r}, {self.token})"

    def writer(self, index: int, *, workers: int | None = None, progress: bool = False) -> WorkerWriter:
        """The writer of this index: a `DatasetWriter` whose rows count once `commit` is handed its `written`.

        index: 0 to 999,999; rows are ordered by it. Indexes may be left out. A writer that failed or died is replaced
        by another of its index. workers, progress: as for `DatasetWriter`.

        Raises `DatasetError` if the job is over.
        """
        return WorkerWriter(self, self._location(), index, workers, progress)

    def map(
        self, fill: Callable[[WorkerWriter, _Task], object], tasks: Iterable[_Task], *, processes: int | None = None
    ) -> list[WrittenPart]:
        """Call `fill(writer, task)` for each task in processes of this machine; what to hand to `commit`.

        The i-th task has the writer of index i. fill: a function of a module, as new processes import it. processes:
        how many; None for one a core.

        Raises what `fill` raised for the first task that failed, and `PoolError` if a process died, or if the dataset
        lies where only this one can write; the job is as open as before.
        """
        if processes is not None and processes < 1:
            raise OptionError(f"processes={processes!r} is no number of processes; give an int of 1 or more.")
        try:
            ForkingPickler.dumps(self._location().filesystem)
        except TypeError as error:
            raise PoolError(f"other processes can't write there: {error}. DatasetWriter can, in this one.") from None
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            futures = [pool.submit(_fill, self, index, fill, task) for index, task in enumerate(tasks)]
            try:
                return [future.result() for future in futures]
            except BrokenProcessPool:
                raise PoolError(
                    "a process that wrote died: it was killed, perhaps for want of memory, or could not start. Scripts "
                    'call map() under `if __name__ == "__main__":`.'
                ) from None
            finally:
                for future in futures:
                    future.cancel()

    def commit(self, parts: Iterable[WrittenPart]) -> None:
        """Make what these writers have written part of the dataset, all at once, and end the job.

        parts: what their `written` gave, in any order; what others wrote is deleted. Committing the same parts once
        more has no effect, so that a commit of which nobody knows whether it succeeded can be tried again.

        Raises `DatasetError` if a file is missing or not as its writer left it, if another writer has changed the
        dataset since the job began, or if the job is over; the job is then as open as before, and the dataset as it
        was. Raises `StoreError` if a store does not tell whether it was committed: try the same parts again.
        Raises `OptionError` for parts of another job and for two different parts of one index.
        """
        files = files_of(parts, self.token, self.begun.prefix, self.options.partition_by)
        listed = {name: ListedFile(file.row_groups, file.rows) for name, file in files.items()}
        location, commit = self._commit()
        if commit.committed is None:
            commit.hold()
        try:
            if commit.committed is None:
                if commit.changed:
                    raise self._changed()
                self._verify(location, commit, files)
                commit.take(files)
                transaction.Transaction(location, commit, self.schema, self.options).finish(listed, self.token)
            elif commit.committed != listed:
                raise DatasetError(
                    describe(
                        "this job was committed already, with other parts",
                        Place(file=location.paths[0]),
                        expected=f"{len(commit.committed)} files",
                        found=f"{len(files)}",
                    )
                )
            else:
                commit.clean_up()
        finally:
            commit.detach()

    def abort(self) -> None:
        """End the job and delete what was written; the dataset stays as it was. Without effect on a job that is over.

        Writers still at work fail. Raises `DatasetError` if a commit is under way, or was cut short so that a store may
        complete it yet; the job is then as open as before.
        """
        _, commit = self._commit()
        if commit.open:
            commit.hold()
        if commit.committed is None:
            commit.abort()
        else:
            commit.clean_up()

    def to_json(self) -> str:
        """This job as JSON, equal for equal jobs. It holds the URL with any credentials in it, but no `filesystem`."""
        stored = {
            "version": _VERSION,
            "url": self.url,
            "filesystem": self.filesystem is not None,
            "schema": self.schema.to_json(),
            "options": asdict(self.options),
            "begun": asdict(self.begun),
            "lease_hours": self.lease_hours,
        }
        return json.dumps(stored, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, *, filesystem: Any = None, codecs: Iterable[type[Codec]] = ()) -> ParallelWrite:
        """The job that `to_json` wrote.

        filesystem: needed if the job was begun with one. codecs: the user's own codec classes in its schema.
        Raises `OptionError` if the text is something else, or `filesystem` is missing.
        """
        try:
            stored = json.loads(text)
            if stored["version"] != _VERSION:
                raise ValueError(f"version {stored['version']!r}")
            options = stored["options"]
            options["partition_by"] = tuple(options["partition_by"])
            schema = Unischema.from_json(stored["schema"], codecs)
            job = cls(
                str(stored["url"]),
                schema,
                WriteOptions(**options),
                Begun(**stored["begun"]),
                float(stored["lease_hours"]),
                filesystem,
            )
            given = bool(stored["filesystem"])
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            # Its words, not the text: that may hold credentials.
            found = f"{type(error).__name__}"
            raise OptionError(
                describe("this is no job of several writers", expected="what its to_json() gave", found=found)
            ) from None
        if given and filesystem is None:
            raise OptionError("this job was begun with filesystem=, so from_json needs filesystem= too.")
        return job

    def __enter__(self) -> ParallelWrite:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.abort()
        except DatasetError:
            # It says that a commit's outcome is not known, as what ends the block does.
            if error is None:
                raise

    def _location(self) -> Location:
        return resolve(self.url, self.filesystem, glob=False)

    def _commit(self) -> tuple[Location, JobCommit]:
        location = self._location()
        return location, JobCommit(location.filesystem, location.paths[0], location.url, self.begun)

    def _changed(self) -> DatasetError:
        return DatasetError(
            describe(
                "another writer has changed the dataset since this job began",
                Place(file=redact(self.url)),
                remedy="Nothing of it was lost, and nothing was added. Abort this job and write again, one writer or "
                "job at a time.",
            )
        )

    def _verify(self, location: Location, commit: JobCommit, files: dict[str, WrittenFile]) -> None:
        """Raise `DatasetError` unless all files are there as their writers left them."""
        sizes = commit.written()
        for name, file in files.items():
            # Some stores tell no sizes in listings.
            if name not in sizes or sizes[name] not in (file.size, None):
                found = f"{sizes[name]} bytes" if name in sizes else "no such file"
                what = "a file that was handed over is not as its writer left it"
                raise DatasetError(describe(what, Place(file=name), expected=f"{file.size} bytes", found=found))
        found_files = [DataFile(commit.path_of(name), name, file.size, -1, {}) for name, file in files.items()]
        for file, footer in zip(files.values(), read_footers(location.filesystem, found_files), strict=True):
            assert footer is not None
            counts = footer.metadata.num_row_groups, footer.metadata.num_rows
            if counts != (file.row_groups, file.rows):
                raise DatasetError(
                    describe(
                        "a file that was handed over is not as its writer left it",
                        Place(file=file.name),
                        expected=f"{file.rows} rows in {file.row_groups} row groups",
                        found=f"{counts[1]} rows in {counts[0]}",
                    )
                )


def _fill(job: ParallelWrite, index: int, fill: Callable[[WorkerWriter, _Task], object], task: _Task) -> WrittenPart:
    # The processes are the parallelism.
    with job.writer(index, workers=0) as writer:
        fill(writer, task)
    return writer.written

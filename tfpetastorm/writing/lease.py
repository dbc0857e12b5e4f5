"""Whether a job of several writers still lives, told by the times of files in its hidden folder.

`job.json` says how long it may be silent, its lease; `alive-<writer>` are written anew while writers work. The newest
of them is its last sign of life. Times are those that the filesystem gives files, so that the clocks of machines don't
matter; where a filesystem tells none, a job lives for ever.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import threading
from dataclasses import dataclass

import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, Place, describe
from tfpetastorm.stores.atomic import replace_file
from tfpetastorm.stores.filesystem import is_local, join
from tfpetastorm.stores.patience import TROUBLE
from tfpetastorm.stores.retrying import retried

JOB = "job.json"
ALIVE = "alive-"
DEFAULT_SECONDS = 24 * 3600.0
_VERSION = 1
#: Signs of life lie at most this far apart, and there are at least so many in a lease.
_INTERVAL = 900.0
_BEATS = 8


def mark(filesystem: pafs.FileSystem, folder: str, seconds: float) -> None:
    """Make `folder` that of a job that lives until it was silent for `seconds`."""
    content = json.dumps({"version": _VERSION, "lease_seconds": seconds}).encode()
    replace_file(filesystem, join(folder, JOB), content)


def check_open(filesystem: pafs.FileSystem, folder: str) -> None:
    """Raise `DatasetError` if the job whose folder this is was committed, aborted, or given up as dead."""
    if filesystem.get_file_info([join(folder, JOB)])[0].type != pafs.FileType.File:
        raise DatasetError(
            describe(
                "this job of several writers is over: it was committed or aborted, or another writer found it silent "
                "for longer than its lease and cleaned it up",
                Place(file=folder),
                remedy="What this writer wrote is not part of the dataset. Begin another job; lease_hours= says how "
                "long one may be silent.",
            )
        )


def renew(filesystem: pafs.FileSystem, folder: str, name: str) -> None:
    """Give a sign of life in a job's folder. name: of who gives it."""
    # Not so as to make the folder again: the job may be over.
    with filesystem.open_output_stream(join(folder, ALIVE + name), compression=None) as file:
        file.write(b"1")


def join_job(filesystem: pafs.FileSystem, folder: str, name: str) -> None:
    """Give a sign of life, and be sure that nobody took the job for dead before. Raises as `check_open` does."""
    check_open(filesystem, folder)
    if is_local(filesystem):
        renew(filesystem, folder, name)
    else:
        retried(lambda: renew(filesystem, folder, name), "can't join a job", Place(file=folder))
    # In this order: whoever takes a job for dead deletes its mark first, then looks for signs of life once more.
    check_open(filesystem, folder)


@dataclass(frozen=True)
class Signs:
    """A job's signs of life. newest: when the last was given, in the filesystem's ns, or None if nobody can tell.

    seconds: its lease.
    """

    newest: int | None
    seconds: float


def signs(filesystem: pafs.FileSystem, folder: str) -> Signs:
    """The signs of life in a job's folder."""
    infos = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    names = {posixpath.basename(info.path): info for info in infos if info.type == pafs.FileType.File}
    times = [info.mtime_ns for name, info in names.items() if name == JOB or name.startswith(ALIVE)]
    seconds = DEFAULT_SECONDS
    if JOB in names:
        with filesystem.open_input_stream(names[JOB].path, compression=None) as file:
            seconds = float(json.loads(file.read())["lease_seconds"])
    return Signs(max(times) if times and all(times) else None, seconds)


def now(filesystem: pafs.FileSystem, folder: str, name: str) -> int | None:
    """The filesystem's time in ns, or None if it tells none. name: of who asks."""
    path = join(folder, f"clock-{name}")
    with filesystem.open_output_stream(path, compression=None) as file:
        file.write(b"1")
    try:
        return filesystem.get_file_info([path])[0].mtime_ns or None
    finally:
        filesystem.delete_file(path)


class Heartbeat:
    """A thread that gives signs of life until it is stopped."""

    def __init__(self, filesystem: pafs.FileSystem, folder: str, name: str, seconds: float) -> None:
        self._over = threading.Event()
        interval = min(_INTERVAL, seconds / _BEATS)

        def beat() -> None:
            while not self._over.wait(interval):
                # The next sign comes soon: only if none gets through for the whole lease it matters.
                with contextlib.suppress(*TROUBLE):
                    renew(filesystem, folder, name)

        self._thread = threading.Thread(target=beat, name="tfpetastorm-alive", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Give no sign any more."""
        self._over.set()

    def stop(self) -> None:
        """Give no sign any more; returns once none is under way."""
        self.end()
        if self._thread is not threading.current_thread():
            self._thread.join()

"""One at a time replaces the metadata. Where there are no locks, who is about to says so, and looks who else does.

It is said by a file in the dataset's root, `.tfpetastorm-commit-<token>`. Who finds another's waits until that is gone,
for a time that differs from writer to writer, and tries again; the dataset has then changed, mostly. What a killed
process leaves counts no more after some minutes, by the times that the filesystem gives files.
"""

from __future__ import annotations

import contextlib
import posixpath
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator

import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, Place, describe
from tfpetastorm.storage.metadata import COMMON_METADATA
from tfpetastorm.stores.atomic import alone
from tfpetastorm.stores.filesystem import is_local, join
from tfpetastorm.stores.patience import TROUBLE
from tfpetastorm.stores.retrying import retried
from tfpetastorm.writing import leftovers

#: Seconds after which a file that says so is a killed process's. What it announces takes a few requests.
STALE_SECONDS = 300.0
#: Seconds between looks: at first, and at most.
_FIRST_WAIT, _LAST_WAIT = 0.5, 5.0
#: What `replace_file` writes before it is moved into place.
_SCRATCH = re.compile(rf"\.{COMMON_METADATA}\.[0-9a-f]{{32}}")


@contextlib.contextmanager
def exclusive(
    filesystem: pafs.FileSystem, root: str, token: str | None = None, check: Callable[[], None] = lambda: None
) -> Iterator[Callable[[], None]]:
    """Within the block nobody else replaces the metadata in `root`; who wants to waits, for minutes if need be.

    By a lock on a local filesystem. token: of a writer. check: raises an exception if there is no use in waiting. Gives
    what raises `DatasetError` once so much time has passed that others may take this process for dead.
    Raises `DatasetError`, too, if another stays.
    """
    if is_local(filesystem):
        with alone(filesystem, root):
            yield lambda: None
        return
    with _only_one(filesystem, root, token or uuid.uuid4().hex[:12], check) as sure:
        yield sure


@contextlib.contextmanager
def _only_one(
    filesystem: pafs.FileSystem, root: str, token: str, check: Callable[[], None]
) -> Iterator[Callable[[], None]]:
    name = leftovers.COMMITTING + token
    deadline = time.monotonic() + STALE_SECONDS + 60
    wait = _FIRST_WAIT
    # Not the global generator, whose state belongs to the user.
    chance = random.SystemRandom()
    try:
        while True:
            since = time.monotonic()
            others = _say(filesystem, root, name)
            if not others:
                break
            leftovers.delete(filesystem, root, [name])
            if time.monotonic() > deadline:
                raise _busy(join(root, others[0]))
            # Two that meet should not meet again.
            time.sleep(chance.uniform(0, wait))
            wait = min(2 * wait, _LAST_WAIT)
            check()

        def sure() -> None:
            if time.monotonic() - since > STALE_SECONDS / 2:
                raise _busy(join(root, name))

        yield sure
    finally:
        leftovers.delete(filesystem, root, [name])


def _say(filesystem: pafs.FileSystem, root: str, name: str) -> list[str]:
    """Say that a commit is about to happen. Returns who else says so."""
    path = join(root, name)

    def write() -> None:
        with filesystem.open_output_stream(path, compression=None) as file:
            file.write(str(time.time()).encode())

    retried(write, "A commit can't be announced", Place(file=path))
    found = {posixpath.basename(info.path): info for info in filesystem.get_file_info(pafs.FileSelector(root))}
    if name not in found:
        return [name]  # a listing of before: it can't tell who else is there
    mine = found.pop(name)
    others = []
    for other, info in found.items():
        if other.startswith(leftovers.COMMITTING):
            if age(filesystem, info, mine.mtime_ns) <= STALE_SECONDS:
                others.append(other)
            else:
                leftovers.delete(filesystem, root, [other])
        elif _SCRATCH.fullmatch(other) and age(filesystem, info, mine.mtime_ns) > STALE_SECONDS:
            leftovers.delete(filesystem, root, [other])
    return others


def age(filesystem: pafs.FileSystem, info: pafs.FileInfo, now: int | None) -> float:
    """For how many seconds a file has been there; 0 if nobody can tell. now: the filesystem's time in ns.

    Where the filesystem tells no times, the file's text may be that of its writer's clock.
    """
    if now and info.mtime_ns:
        return float(now - info.mtime_ns) / 1e9
    try:
        with filesystem.open_input_stream(info.path, compression=None) as file:
            return time.time() - float(file.read())
    except FileNotFoundError:
        return float("inf")
    except (*TROUBLE, ValueError):
        return 0.0


def _busy(path: str) -> DatasetError:
    return DatasetError(
        describe(
            "another writer has changed the dataset meanwhile, or is about to",
            Place(file=path),
            remedy="Nothing of it was lost, and nothing was added. Write again, one writer at a time. If none is at "
            "work, delete this file.",
        )
    )

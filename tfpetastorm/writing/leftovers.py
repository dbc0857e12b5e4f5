"""What writers have beside a dataset's files until they commit, and who may delete it.

Each has a hidden folder in the dataset's root, `.tfpetastorm-<token>/`:

- A single writer has one on local filesystems only, and holds `lock` in it while it lives. Whoever gets that may clean
  up.
- A job of several writers has one on every filesystem, for the lock can't outlive the process that begins it. It lives
  until its lease is over (`lease.py`), and while its commit holds `lock`.
- `journal.json` names the files that a commit is about to add or delete.

- `attempt.json` says that a job's commit is at its last step, or has been, and which files it adds.

On stores, new files lie under their own names, which hold the token.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import StoreError
from tfpetastorm.stores.atomic import replace_file
from tfpetastorm.stores.filesystem import is_local, join
from tfpetastorm.stores.patience import TROUBLE
from tfpetastorm.writing import lease

PREFIX = ".tfpetastorm-"
#: Not a folder: see `intent.py`.
COMMITTING = PREFIX + "commit-"
LOCK = "lock"
JOURNAL = "journal.json"


def lock(path: Path) -> IO[Any] | None:
    """The file at `path`, open and locked until it is closed or its process ends; None where there are no locks.

    Raises `BlockingIOError` if another holds it.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX
        return None
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if isinstance(error, BlockingIOError):
            raise
        return None
    return file


def make_locked(folder: Path) -> IO[Any] | None:
    """Make a writer's folder, its lock held. None where there are no locks."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        # Another writer may take the folder for a dead one's as long as it isn't locked, and delete it.
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            file = lock(folder / LOCK)
            if file is None or os.path.samestat(os.fstat(file.fileno()), (folder / LOCK).stat()):
                return file
            file.close()


def delete(filesystem: pafs.FileSystem, root: str, names: Iterable[str]) -> None:
    """Delete files as far as that goes: what is left is not listed, so nobody takes it for data."""
    # A store that fails at one after several tries will at the next.
    with contextlib.suppress(StoreError):
        for name in names:
            with contextlib.suppress(OSError, pa.ArrowException):
                filesystem.delete_file(join(root, name))


def delete_empty_folders(filesystem: pafs.FileSystem, root: str, names: Iterable[str]) -> None:
    """Delete the folders of these files, and those above them up to the root, that are empty now."""
    if not is_local(filesystem):
        return
    for folder in sorted({posixpath.dirname(name) for name in names} - {""}, reverse=True):
        path = Path(root, folder)
        while path != Path(root):
            with contextlib.suppress(OSError):
                path.rmdir()
            path = path.parent


def delete_hidden(filesystem: pafs.FileSystem, folder: str) -> None:
    """Delete a writer's folder and all in it."""
    with contextlib.suppress(*TROUBLE):
        if is_local(filesystem):
            filesystem.delete_dir(folder)
            return
        infos = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True, recursive=True))
        names = [posixpath.relpath(info.path, folder) for info in infos if info.type == pafs.FileType.File]
        # Its writers see first that the job is over; without signs of life nobody would dare to delete the rest.
        order = sorted(names, key=lambda name: (name != lease.JOB, name.startswith(lease.ALIVE)))
        delete(filesystem, folder, order)
        # Object stores have no folders, but what stands for them may have some.
        if filesystem.get_file_info([folder])[0].type == pafs.FileType.Directory:
            filesystem.delete_dir(folder)


def note(filesystem: pafs.FileSystem, folder: str, names: Iterable[str]) -> None:
    """Write down which files a commit is about to add or delete, for whoever cleans up after it."""
    replace_file(filesystem, join(folder, JOURNAL), json.dumps({"names": list(names)}).encode())


def noted(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    """What `note` wrote down, if anything."""
    try:
        with filesystem.open_input_stream(join(folder, JOURNAL), compression=None) as file:
            return list(json.loads(file.read())["names"])
    except FileNotFoundError:
        return []


def of_token(names: Iterable[str], token: str) -> list[str]:
    """The data files, by name relative to the root, that the writer or job of this token made."""
    return [name for name in names if not name.startswith(PREFIX) and f"-{token}" in posixpath.basename(name)]


def clear_dead(
    filesystem: pafs.FileSystem,
    root: str,
    token: str,
    listed: Collection[str],
    folders: Iterable[str],
    check: Callable[[], None],
) -> None:
    """Delete what writers that died have left: their hidden folders, and files they never listed or unlisted.

    token: of the writer who cleans up. listed: the dataset's files. folders: names of hidden folders. check: raises an
    exception if `listed` is out of date.
    """
    for folder in sorted(set(folders) - {PREFIX + token}):
        if folder.startswith(COMMITTING):
            continue
        with contextlib.suppress(*TROUBLE, ValueError, LookupError, TypeError):
            _clear(filesystem, root, token, listed, folder, check)


def _clear(
    filesystem: pafs.FileSystem, root: str, token: str, listed: Collection[str], name: str, check: Callable[[], None]
) -> None:
    folder = join(root, name)
    held = lock(Path(folder, LOCK)) if is_local(filesystem) else None
    if held is None and is_local(filesystem):
        return  # nobody can tell whether its writer lives
    with held or contextlib.nullcontext():
        # On stores only jobs have folders. One whose marker is gone is being deleted, or whoever deleted it died.
        detached = not is_local(filesystem) or Path(folder, lease.JOB).exists()
        signs = lease.signs(filesystem, folder) if detached else None
        if signs is not None:
            now = lease.now(filesystem, folder, token)
            if signs.newest is None or now is None or now - signs.newest <= signs.seconds * 1e9:
                return
        # Once it is known to be dead: what it committed last may be newer than this writer's view.
        check()
        if signs is not None:
            # In this order: a commit gives a sign of life first, then makes sure that the job is still open.
            delete(filesystem, folder, [lease.JOB])
            newest = lease.signs(filesystem, folder).newest
            if newest is not None and newest > (signs.newest or 0):
                return
        names = noted(filesystem, folder)
        if signs is not None:
            found = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
            names += of_token((posixpath.relpath(info.path, root) for info in found), name.removeprefix(PREFIX))
        names = [one for one in names if one not in listed]
        delete(filesystem, root, names)
        delete_empty_folders(filesystem, root, names)
        delete_hidden(filesystem, folder)

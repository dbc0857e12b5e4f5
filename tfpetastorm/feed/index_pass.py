"""What index passes share: tasks in threads but in order, progress, and a name for what was found."""

from __future__ import annotations

import hashlib
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from tfpetastorm.plan.tasks import ReadTask, TaskTable
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.storage.dataset import StoredDataset

#: An index pass over at least this many read tasks shows a progress bar, where someone is looking.
_PROGRESS_TASKS = 64

_Found = TypeVar("_Found")


def in_order(run: Callable[[ReadTask], _Found], tasks: TaskTable, options: PoolOptions, title: str) -> Iterator[_Found]:
    """`run` on each task, in threads; results in stored order, few of them made ahead so that memory stays small."""
    with ThreadPoolExecutor(options.count, thread_name_prefix="tfpetastorm-index") as threads:
        waiting: deque[Future[_Found]] = deque()
        shown = len(tasks) >= _PROGRESS_TASKS and sys.stderr.isatty()
        console = Console(stderr=True)
        try:
            for i in track(range(len(tasks)), title, console=console, transient=True, disable=not shown):
                while len(waiting) < 2 * options.count and i + len(waiting) < len(tasks):
                    waiting.append(threads.submit(run, tasks.task(i + len(waiting))))
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def index_key(dataset: StoredDataset, spec: ReadSpec, tasks: TaskTable, what: str) -> str | None:
    """Names what an index pass finds, for the cache; None where that can't be named (a Python function, or files of
    which nobody can tell whether they were written anew in the same size). what: what is looked for."""
    where = spec.where.key if spec.where is not None else ""
    if where is None:
        return None
    times = [file.mtime_ns for file in dataset.files]
    if min(times) < 0:
        return None
    split = None if spec.split is None else spec.split.__reduce__()[1]
    digest = hashlib.sha256(repr((where, split, times)).encode())
    for array in (tasks.row_group, tasks.start, tasks.stop):
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"{what}:{digest.hexdigest()}"

"""From a dataset and options to a plan: pruning, slices, and the exact count of rows of every read task."""

from __future__ import annotations

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track

from tfpetastorm.errors import MemoryBudgetError
from tfpetastorm.plan.tasks import TaskTable, slice_row_groups
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.cost import row_bytes
from tfpetastorm.read.predicate import ExpressionPredicate
from tfpetastorm.read.task import ReadSpec, TaskReader
from tfpetastorm.schema.columns import Array
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.statistics import prune
from tfpetastorm.tfdata.skip import SkipLedger

#: An index pass over at least this many row groups shows a progress bar, where someone is looking.
_PROGRESS_TASKS = 64


@dataclass(frozen=True, eq=False)
class Planned:
    """tasks: those that give rows. rows: int64 `[n]`, how many each gives. task_bytes: int64 `[n]`, about how many
    decoded bytes each costs."""

    tasks: TaskTable
    rows: Array
    task_bytes: Array


def plan_tasks(
    dataset: StoredDataset, spec: ReadSpec, reader: TaskReader, options: PoolOptions, ledger: SkipLedger
) -> Planned:
    """The read tasks of an epoch, those that statistics, hive partitions or the index pass show to be empty left out.

    Raises MemoryBudgetError where one task alone exceeds the budget.
    """
    inventory = dataset.inventory
    keep = np.ones(len(inventory.row_group_rows), bool)
    if isinstance(spec.where, ExpressionPredicate):
        keep &= prune(dataset, spec.where.expression)
    if spec.split is not None and spec.split.by == "row_group":
        names = [file.name for file in inventory.files]
        keep &= spec.split.row_groups_of(
            names, inventory.row_group_file, inventory.row_group_ordinal, inventory.row_group_rows
        )
    costs = row_bytes(spec.read_fields, inventory, dataset.column_paths, dataset.file_metadata)
    tasks = slice_row_groups(inventory.row_group_rows, keep, costs)
    rows = tasks.stop - tasks.start
    task_bytes = np.ceil(rows * costs[tasks.row_group]).astype(np.int64)
    if len(tasks) and int(task_bytes.max()) > options.budget_bytes:
        raise MemoryBudgetError(
            f"One read task takes about {int(task_bytes.max()):,} bytes and the budget is {options.budget_bytes:,}. "
            f"Allow PoolOptions(budget_bytes={int(task_bytes.max()):_}), read fewer fields, or write smaller rows."
        )
    if spec.selects:
        rows = _counted(dataset, spec, reader, options, tasks, ledger)
    full = rows > 0
    return Planned(tasks.select(full), np.ascontiguousarray(rows[full]), np.maximum(1, task_bytes[full]))


def _counted(
    dataset: StoredDataset,
    spec: ReadSpec,
    reader: TaskReader,
    options: PoolOptions,
    tasks: TaskTable,
    ledger: SkipLedger,
) -> Array:
    """int64 `[n]`: the rows of each task that come out, by an index pass over just the columns that decide it."""
    key = _index_key(dataset, spec, tasks)
    if key is not None:
        known = dataset.get_counts(key)
        if known is not None and len(known) == len(tasks):
            return known
    numbers = range(len(tasks))
    with ThreadPoolExecutor(options.workers, thread_name_prefix="tfpetastorm-index") as threads:
        results = threads.map(lambda i: reader.count(tasks.task(i)), numbers)
        shown = len(tasks) >= _PROGRESS_TASKS and sys.stderr.isatty()
        console = Console(stderr=True)
        counted = list(
            track(results, "Counting rows", total=len(tasks), console=console, transient=True, disable=not shown)
        )
    reader.close()
    for result in counted:
        ledger.add(result.damage)
    rows = np.array([result.rows for result in counted], np.int64)
    if key is not None and not any(result.damage for result in counted):
        dataset.put_counts(key, rows)
    return rows


def _index_key(dataset: StoredDataset, spec: ReadSpec, tasks: TaskTable) -> str | None:
    """Names what was counted, for the cache; None where that can't be named (a Python function, or files of which
    nobody can tell whether they were written anew in the same size)."""
    if spec.where is not None and not isinstance(spec.where, ExpressionPredicate):
        return None
    times = [file.mtime_ns for file in dataset.files]
    if min(times) < 0:
        return None
    where = spec.where.key if spec.where is not None else ""
    split = None if spec.split is None else spec.split.__reduce__()[1]
    digest = hashlib.sha256(repr((where, split, times)).encode())
    for array in (tasks.row_group, tasks.start, tasks.stop):
        digest.update(np.ascontiguousarray(array).tobytes())
    return "rows:" + digest.hexdigest()

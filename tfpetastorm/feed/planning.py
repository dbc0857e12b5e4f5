"""From a dataset and options to a plan: pruning, slices, and the exact count of rows of every read task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfpetastorm.errors import MemoryBudgetError
from tfpetastorm.feed.index_pass import in_order, index_key
from tfpetastorm.feed.skip import SkipLedger
from tfpetastorm.plan.layout import Samples
from tfpetastorm.plan.ngram import ResolvedWindows
from tfpetastorm.plan.order import Shuffle, equal_blocks
from tfpetastorm.plan.tasks import TaskTable, slice_row_groups
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.cost import row_bytes
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.columns import Array
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.statistics import prune

#: A block, or a run of row groups for windows, takes about this many times its size: in parts and joined, gathered, cut
#: into batches, and once more for what is made ahead.
_BLOCK_COPIES = 5

#: With windows, consecutive row groups of about this many decoded bytes stay together in any order, since the first
#: rows of the row group after them are read a second time.
_RUN_BYTES = 48 * 1024 * 1024

#: And there are about this many such runs at least, where there are as many row groups.
_LEAST_RUNS = 16


@dataclass(frozen=True, eq=False)
class Planned:
    """samples: what an epoch is made of. row_bytes: float64 `[tasks]`, about how many decoded bytes a row of each
    costs. block: samples that are mixed with one another; 0 where nothing is mixed. held: bytes that blocks and
    windows take beyond the read tasks."""

    samples: Samples
    row_bytes: Array
    block: int
    held: int

    @property
    def reason(self) -> str:
        """Where there are no windows, why."""
        return "" if self.samples.windows is None else self.samples.windows.reason


def plan_tasks(
    dataset: StoredDataset,
    spec: ReadSpec,
    reader: TaskReader,
    options: PoolOptions,
    ledger: SkipLedger,
    shuffle: Shuffle,
    windows: ResolvedWindows | None = None,
    *,
    among: Array | None = None,
    counted: bool = True,
    slices: int = 1,
) -> Planned:
    """The read tasks of an epoch, those that statistics, hive partitions or the index pass show to be empty left out.

    spec, reader: what decides which rows there are. among: bool, by row group, those to read at all. counted: whether
    an index pass counts what filters leave of each task; else they count as whole. slices: into how many tasks a row
    group is cut at least, each of which is permuted for itself. Raises MemoryBudgetError where one task, or a block,
    exceeds the budget.
    """
    inventory = dataset.inventory
    keep = np.ones(len(inventory.row_group_rows), bool) if among is None else among.copy()
    if spec.where is not None and spec.where.pruning is not None:
        keep &= prune(dataset, spec.where.pruning)
    if spec.split is not None and spec.split.by == "row_group":
        names = [file.name for file in inventory.files]
        keep &= spec.split.row_groups_of(
            names, inventory.row_group_file, inventory.row_group_ordinal, inventory.row_group_rows
        )
    costs = row_bytes(spec.read_fields, inventory, dataset.column_paths, dataset.file_metadata)
    kept_rows = np.where(keep, inventory.row_group_rows, 0)
    mean = float((kept_rows * costs).sum() / max(1, int(kept_rows.sum())))
    block = shuffle.block(mean)
    # Slices of half a block, so that even a single row group is not always mixed with the same neighbours.
    slice_rows = 0 if windows is not None else -(-block // 2)
    tasks = slice_row_groups(inventory.row_group_rows, keep, costs, slice_rows=slice_rows, slices=slices)
    rows = tasks.stop - tasks.start
    of_row = costs[tasks.row_group]
    task_bytes = np.ceil(rows * of_row).astype(np.int64)
    if len(tasks) and int(task_bytes.max()) > options.budget_bytes:
        raise MemoryBudgetError(
            f"One read task takes about {int(task_bytes.max()):,} bytes and the budget is {options.budget_bytes:,}. "
            f"Allow PoolOptions(budget_bytes={int(task_bytes.max()):_}), read fewer fields, or write smaller rows."
        )
    largest = int(task_bytes.max()) if len(tasks) else 0
    if windows is None:
        _held("block", min(block, int(rows.sum())), mean, largest, options)
        if spec.selects and counted:
            rows = count_rows(dataset, spec, reader, options, tasks, ledger)
        full = rows > 0
        units = np.arange(int(full.sum())) if slices > 1 else None
        samples = Samples(tasks.select(full), np.ascontiguousarray(rows[full]), spec.selects and counted, None, units)
        block = equal_blocks(block, samples.total)
        return Planned(samples, of_row[full], block, _held("block", block, mean, largest, options))
    # Imported here: only windows need it.
    from tfpetastorm.feed.window_index import index_windows

    joined = min(block * windows.stride if block else int(_RUN_BYTES // max(mean, 1.0)), int(rows.sum()))
    held = _held("block" if block else "run of row groups", joined, mean, largest, options)
    index = index_windows(dataset, spec, reader, options, tasks, ledger, windows)
    # Each task counts the windows that start in it; those without any may still hold the last rows of one.
    borders = np.concatenate([[0], np.cumsum(rows)])
    # Of little data shorter runs, so that their order is worth something.
    run = min(_RUN_BYTES, max(1, int(task_bytes.sum()) // _LEAST_RUNS)) if slices == 1 else 1
    units = ((np.cumsum(task_bytes) - task_bytes) // run).astype(np.int64)
    samples = Samples(tasks, np.diff(index.before(borders)), False, index, units)
    return Planned(samples, of_row, equal_blocks(block, samples.total), held)


def _held(what: str, rows: int, row_bytes: float, task_bytes: int, options: PoolOptions) -> int:
    """Bytes that so many rows, joined to a block or for windows, take beyond read tasks. Raises MemoryBudgetError if
    they are too many."""
    held = int(rows * row_bytes * (_BLOCK_COPIES - 1))
    needed = held + max(task_bytes, int(rows * row_bytes))
    if needed > options.budget_bytes:
        free = min(options.budget_bytes / _BLOCK_COPIES, (options.budget_bytes - task_bytes) / (_BLOCK_COPIES - 1))
        fits = int(free // max(row_bytes, 1.0))
        smaller = f"use Shuffle(block_rows={fits:_}) or less" if what == "block" and fits else "read fewer fields"
        raise MemoryBudgetError(
            f"A {what} of {rows:,} rows takes about {needed:,} bytes on its way to a batch and the budget is "
            f"{options.budget_bytes:,}: {smaller}, or allow PoolOptions(budget_bytes={needed:_})."
        )
    return held


def count_rows(
    dataset: StoredDataset,
    spec: ReadSpec,
    reader: TaskReader,
    options: PoolOptions,
    tasks: TaskTable,
    ledger: SkipLedger,
) -> Array:
    """int64 `[n]`: the rows of each task that come out, by an index pass over just the columns that decide it."""
    key = index_key(dataset, spec, tasks, "rows")
    if key is not None:
        known = dataset.get_counts(key)
        if known is not None and len(known) == len(tasks):
            return known
    counted = list(in_order(reader.count, tasks, options, "Counting rows"))
    reader.close()
    for result in counted:
        ledger.add(result.damage)
    rows = np.array([result.rows for result in counted], np.int64)
    if key is not None and not any(result.damage for result in counted):
        dataset.put_counts(key, rows)
    return rows

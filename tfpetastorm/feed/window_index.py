"""The index pass that finds the windows of a dataset, over just the columns that decide it."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from tfpetastorm.errors import DatasetWarning, NullValueError, Place, describe
from tfpetastorm.feed.index_pass import in_order, index_key
from tfpetastorm.feed.skip import SkipLedger
from tfpetastorm.plan.ngram import ResolvedWindows
from tfpetastorm.plan.tasks import ReadTask, TaskTable
from tfpetastorm.plan.window_finder import TaskRows, WindowFinder
from tfpetastorm.plan.windows import WindowIndex, windows_of_stretches
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.result import Damage
from tfpetastorm.read.runs import runs_of
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.storage.dataset import StoredDataset


def index_windows(
    dataset: StoredDataset,
    spec: ReadSpec,
    reader: TaskReader,
    options: PoolOptions,
    tasks: TaskTable,
    ledger: SkipLedger,
    wanted: ResolvedWindows,
) -> WindowIndex:
    """The windows of all rows of `tasks`; their rows are numbered from 0 in stored order, those left out included.

    Nothing is read unless a sequence, a timestamp, `where=` or `split=` decides; what was found is cached in the
    sidecar. Where there are none, warns and leaves the words in the index's `reason`.

    Raises UnsortedDataError where time goes back or a sequence returns, NullValueError where a row that passes has no
    timestamp or sequence; both name the row.
    """
    index = _indexed(dataset, spec, reader, options, tasks, ledger, wanted)
    if not index.total:
        # The caller of `make_dataset`.
        warnings.warn(f"{dataset.url} has no windows: {index.reason}.", DatasetWarning, stacklevel=4)
    return index


def follows_of(tasks: TaskTable, row_group_rows: Array) -> Array:
    """bool `[n]`: whether a task's first row is stored right after the last one of the task before; row groups without
    rows lie between no rows. row_group_rows: int64, of all row groups of the dataset."""
    before = np.cumsum(row_group_rows) - row_group_rows
    first, last = before[tasks.row_group] + tasks.start, before[tasks.row_group] + tasks.stop
    follows = np.zeros(len(tasks), bool)
    follows[1:] = first[1:] == last[:-1]
    return follows


def _indexed(
    dataset: StoredDataset,
    spec: ReadSpec,
    reader: TaskReader,
    options: PoolOptions,
    tasks: TaskTable,
    ledger: SkipLedger,
    wanted: ResolvedWindows,
) -> WindowIndex:
    if not len(tasks):
        none = np.zeros(0, np.int64)
        reason = f"where= and split= leave none of {dataset.num_rows} rows"
        return WindowIndex(none, none, wanted.stride, wanted.length, reason)
    follows = follows_of(tasks, dataset.inventory.row_group_rows)
    names = tuple(dict.fromkeys(name for name in (wanted.sequence, wanted.timestamp) if name is not None))
    if not names and not spec.selects:
        return _of_layout(tasks, follows, wanted)
    key = index_key(dataset, spec, tasks, wanted.index_key)
    known = dataset.get_counts(key) if key is not None else None
    index = WindowIndex.from_array(known) if known is not None else None
    if index is not None:
        return index
    rows = tasks.stop - tasks.start
    first = np.cumsum(rows) - rows

    def place(row: int, field: str | None) -> Place:
        task = int(np.searchsorted(first, row, "right")) - 1
        return spec.source.place(int(tasks.row_group[task]), int(tasks.start[task]) + row - int(first[task]), field)

    finder = WindowFinder(wanted, place)
    damaged = False
    try:
        probed = in_order(lambda task: _probe(reader, task, names, wanted), tasks, options, "Finding windows")
        for i, found in enumerate(probed):
            ledger.add(found.damage)
            damaged |= bool(found.damage)
            finder.add(
                TaskRows(
                    int(first[i]),
                    int(rows[i]),
                    bool(follows[i]),
                    found.rows,
                    found.timestamps,
                    found.run_starts,
                    found.run_values,
                )
            )
    finally:
        reader.close()
    index = finder.finish()
    # Of no windows the cache could not tell why.
    if key is not None and index.total and not damaged:
        dataset.put_counts(key, index.to_array())
    return index


@dataclass(frozen=True, eq=False)
class _Probed:
    """What one task tells, as in `TaskRows`."""

    rows: Array | None
    timestamps: Array | None
    run_starts: Array | None
    run_values: tuple[Hashable, ...]
    damage: tuple[Damage, ...]


def _probe(reader: TaskReader, task: ReadTask, names: tuple[str, ...], wanted: ResolvedWindows) -> _Probed:
    """In a thread, so that no more than what decides is held for the tasks that follow."""
    numbers, columns, damage = reader.probe(task, names)
    for name in names:
        _check_nulls(reader.spec, task, numbers, name, columns[name], wanted)
    timestamps, run_starts = None, None
    run_values: tuple[Hashable, ...] = ()
    if wanted.timestamp is not None:
        timestamps = np.asarray(columns[wanted.timestamp].values)
    if wanted.sequence is not None:
        run_starts, run_values = runs_of(columns[wanted.sequence], reader.spec.schema.fields[wanted.sequence])
    rows = None if len(numbers) == task.stop - task.start else numbers - task.start
    return _Probed(rows, timestamps, run_starts, run_values, damage)


def _check_nulls(
    spec: ReadSpec, task: ReadTask, numbers: Array, name: str, column: Column, wanted: ResolvedWindows
) -> None:
    bad = np.zeros(len(numbers), bool) if column.valid is None else ~column.valid
    if not isinstance(column.values, Text) and column.values.dtype.kind in "fM":
        bad |= np.isnan(column.values)
    if bool(bad.any()):
        option = "timestamp_field" if name == wanted.timestamp else "sequence_field"
        raise NullValueError(
            describe(
                f"{option}= is null or not a number in a row",
                spec.source.place(task.row_group, int(numbers[int(np.argmax(bad))]), name),
                remedy="Whether it belongs to a window can't be told: leave such rows out with where=, or mend them.",
            )
        )


def _of_layout(tasks: TaskTable, follows: Array, wanted: ResolvedWindows) -> WindowIndex:
    """Where every row passes and nothing but rows that are not read parts them."""
    rows = tasks.stop - tasks.start
    begins = np.flatnonzero(~follows)
    lengths = np.add.reduceat(rows, begins)
    first = (np.cumsum(rows) - rows)[begins]
    reason = f"windows need {wanted.length} consecutive rows, and the longest run has {int(lengths.max())}"
    return windows_of_stretches(first, lengths, wanted.length, wanted.stride, reason)

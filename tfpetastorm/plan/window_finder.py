"""Finding windows: from what an index pass reads, task by task, to a `WindowIndex`.

A *stretch* is a maximal run of consecutive stored rows of one sequence that all pass and have no gap between them.
Only what one task tells is held at a time, besides the windows found.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpetastorm.errors import NullValueError, Place, UnsortedDataError, describe
from tfpetastorm.plan.ngram import ResolvedWindows
from tfpetastorm.plan.windows import WindowIndex, merged, windows_of_stretches
from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.dtypes import unit_of


@dataclass(frozen=True, eq=False)
class TaskRows:
    """What is known of the rows of one read task.

    first: the stored number of its first row. count: its rows, at least 1. follows: whether the row stored right
    before `first` is the last of the task before. rows: int64 `[n]`, ascending: which rows pass `where=` and `split=`,
    counted from `first`; None for all. timestamps: number or datetime64 `[n]`, of those rows. run_starts: int64 `[r]`
    and run_values: `r` values: where, among those rows, a run of one sequence value begins, and the value.
    """

    first: int
    count: int
    follows: bool
    rows: Array | None = None
    timestamps: Array | None = None
    run_starts: Array | None = None
    run_values: tuple[Hashable, ...] = ()


class WindowFinder:
    """Finds the windows in the rows of tasks, which are added in stored order.

    wanted: what a window is. place: names a row by its stored number, with a field, for errors.
    """

    def __init__(self, wanted: ResolvedWindows, place: Callable[[int, str | None], Place]) -> None:
        self._wanted = wanted
        self._place = place
        self._first: list[Array] = []
        self._count: list[Array] = []
        # The last row that passed.
        self._last_row = -2
        self._last_time: Array | None = None
        self._last_value: Hashable = None
        self._values: set[Hashable] = set()
        self._stretches = _Runs()
        self._apart = _Apart(wanted.length)
        # For telling why there are no windows.
        self._rows = 0
        self._passed = 0
        self._runs = _Runs()
        self._smallest_gap: Array | None = None

    def add(self, task: TaskRows) -> None:
        """Takes the next task's rows.

        Raises UnsortedDataError where time goes back within a sequence or a sequence's value returns, and
        NullValueError for a timestamp that is not a number; both name the row.
        """
        self._rows += task.count
        rows = task.first + (np.arange(task.count, dtype=np.int64) if task.rows is None else task.rows)
        if not len(rows):
            return
        self._passed += len(rows)
        joined = np.empty(len(rows), bool)
        joined[1:] = rows[1:] == rows[:-1] + 1
        joined[0] = task.follows and rows[0] == self._last_row + 1
        same = self._same_sequence(task, rows)
        joined &= same
        if not self._first:
            self._runs.cut(rows, joined)
        repeats = None
        if task.timestamps is not None:
            gaps = self._gaps(task.timestamps, rows, same)
            repeats = same & (gaps == 0)
            if self._wanted.threshold is not None:
                if not self._first and joined.any():
                    smallest = gaps[joined].min()
                    self._smallest_gap = smallest if self._smallest_gap is None else min(self._smallest_gap, smallest)
                joined &= gaps <= self._limit(gaps)
            self._last_time = task.timestamps[-1:].copy()
        if self._wanted.overlap:
            self._found(*self._stretches.cut(rows, joined))
        else:
            assert repeats is not None
            self._keep(self._apart.cut(rows, joined, repeats), np.int64(1))
            self._stretches.cut(rows, joined)
        self._last_row = int(rows[-1])

    def finish(self) -> WindowIndex:
        """The windows of all rows added."""
        if self._wanted.overlap:
            self._found(*self._stretches.end())
        none = np.zeros(0, np.int64)
        first, count = np.concatenate([none, *self._first]), np.concatenate([none, *self._count])
        # Windows that share no timestamp mostly follow each other directly.
        step = self._wanted.stride if self._wanted.overlap else self._wanted.length
        return merged(first, count, step, self._wanted.length, self._reason())

    # ------------------------------------------------------------------ steps

    def _found(self, first: Array, rows: Array) -> None:
        index = windows_of_stretches(first, rows, self._wanted.length, self._wanted.stride)
        self._keep(index.first, index.count)

    def _keep(self, first: Array, count: Array | np.int64) -> None:
        if len(first):
            self._first.append(first)
            self._count.append(np.broadcast_to(count, first.shape))

    def _same_sequence(self, task: TaskRows, rows: Array) -> Array:
        """bool `[n]`: whether each row is of the sequence of the row before it."""
        same = np.ones(len(rows), bool)
        known = self._last_row >= 0
        if task.run_starts is None:
            same[0] = known
            return same
        same[task.run_starts] = False
        same[0] = known and task.run_values[0] == self._last_value
        begun = task.run_values[1:] if same[0] else task.run_values
        if len(set(begun)) < len(begun) or not self._values.isdisjoint(begun):
            raise self._returned(task, rows, len(task.run_values) - len(begun))
        self._values.update(begun)
        self._last_value = task.run_values[-1]
        return same

    def _returned(self, task: TaskRows, rows: Array, first: int) -> UnsortedDataError:
        assert task.run_starts is not None
        seen = set(self._values)
        run = first
        while task.run_values[run] not in seen:
            seen.add(task.run_values[run])
            run += 1
        value = task.run_values[run]
        where = self._place(int(rows[task.run_starts[run]]), self._wanted.sequence)
        return UnsortedDataError(
            describe(
                f"The sequence {value!r} goes on after rows of another one",
                where,
                remedy="Store each sequence's rows one after another (sort by sequence, then by time), or leave out "
                "rows with where=.",
            )
        )

    def _gaps(self, times: Array, rows: Array, same: Array) -> Array:
        """uint64 or float64 `[n]`: how much later than the row before each row is; 0 if it begins a sequence."""
        if times.dtype.kind in "fM" and bool(np.isnan(times).any()):
            row = int(rows[int(np.argmax(np.isnan(times)))])
            raise NullValueError(
                describe(
                    "A timestamp is not a number",
                    self._place(row, self._wanted.timestamp),
                    remedy="Leave such rows out with where=, or mend them.",
                )
            )
        before = np.empty_like(times)
        before[1:] = times[:-1]
        before[:1] = times[:1] if self._last_time is None else self._last_time
        before = np.where(same, before, times)
        if bool((times < before).any()):
            at = int(np.argmax(times < before))
            hint = "" if self._wanted.sequence else " If several sequences are stored, name the field that tells them "
            hint += "" if self._wanted.sequence else "apart: sequence_field=."
            raise UnsortedDataError(
                describe(
                    f"Time goes back{' within a sequence' if self._wanted.sequence else ''}",
                    self._place(int(rows[at]), self._wanted.timestamp),
                    expected=f"at least the {before[at]} of the row before",
                    found=times[at],
                    remedy=f"Sort the rows by time before they are written.{hint}",
                )
            )
        if times.dtype.kind == "f":
            with np.errstate(over="ignore", invalid="ignore"):
                wide = times.astype(np.float64) - before.astype(np.float64)
            gaps: Array = np.where(times == before, 0.0, wide)
            return gaps
        if times.dtype.kind != "u":
            times, before = times.astype(np.int64), before.astype(np.int64)
        # As time never goes back, the difference modulo 2**64 is the difference, however far apart they are.
        return times.astype(np.uint64) - before.astype(np.uint64)

    def _limit(self, gaps: Array) -> Any:
        """The threshold in the type of gaps."""
        assert self._wanted.threshold is not None
        return gaps.dtype.type(
            min(self._wanted.threshold, 2**64 - 1) if gaps.dtype.kind == "u" else self._wanted.threshold
        )

    def _reason(self) -> str:
        """Why no window was found."""
        wanted = self._wanted
        self._runs.end()
        self._stretches.end()
        passing = " that all pass where= and split=" if self._passed < self._rows else ""
        of_one = f" of one {wanted.sequence!r}" if wanted.sequence else ""
        if not self._passed:
            return f"where= and split= leave none of {self._rows} rows"
        if self._runs.longest < wanted.length:
            return (
                f"windows need {wanted.length} consecutive rows{of_one}{passing}, and the longest run has "
                f"{self._runs.longest}"
            )
        limit = self._shown(wanted.threshold)
        if self._smallest_gap is not None and self._smallest_gap > (wanted.threshold or 0):
            return f"delta_threshold is {limit}, and the smallest gap of {wanted.timestamp!r} is " + self._shown(
                self._smallest_gap
            )
        return (
            f"windows need {wanted.length} consecutive rows{of_one}{passing} without a gap of {wanted.timestamp!r} "
            f"above {limit}, and the longest stretch has {self._stretches.longest}"
        )

    def _shown(self, gap: int | float | Array | None) -> str:
        if self._last_time is not None and self._last_time.dtype.kind == "M" and gap is not None:
            return f"{int(gap)} {unit_of(self._last_time.dtype)}"
        return str(gap)


class _Runs:
    """Runs of rows, of which the last stays open until its end is seen."""

    def __init__(self) -> None:
        self.longest = 0
        self._first = np.zeros(0, np.int64)
        self._open = np.zeros(0, np.int64)

    def cut(self, rows: Array, joined: Array) -> tuple[Array, Array]:
        """The runs that end before the last row: their first rows and lengths, int64. joined: whether each row
        continues the run of the one before."""
        begins = np.flatnonzero(~joined)
        head = int(begins[0]) if len(begins) else len(rows)
        first = np.concatenate([self._first, rows[begins]])
        lengths = np.concatenate([self._open + head, np.diff(np.append(begins, len(rows)))])
        self._first, self._open = first[-1:], lengths[-1:]
        self.longest = max(self.longest, int(lengths.max()))
        return first[:-1], lengths[:-1]

    def end(self) -> tuple[Array, Array]:
        """The run that was open, if any."""
        ended = self._first, self._open
        self._first = self._open = np.zeros(0, np.int64)
        return ended


class _Apart:
    """Windows that share no timestamp, chosen greedily in stored order, as petastorm does.

    A window bars all rows up to the last that has its last row's timestamp (and sequence). So one chain of windows
    leads through all sequences: the next is the first whose first row is not barred.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        # The last rows of the open stretch, in which windows may start that end in the next task.
        self._rows = np.zeros(0, np.int64)
        self._repeats = np.zeros(0, bool)
        # Windows may start at this row; None while the timestamp that the last window ended with goes on.
        self._free: int | None = 0

    def cut(self, rows: Array, joined: Array, repeats: Array) -> Array:
        """int64: the first rows of the windows that end within `rows`. joined: as in `_Runs`. repeats: whether a row
        has the timestamp and sequence of the one before."""
        held = len(self._rows)
        rows = np.concatenate([self._rows, rows])
        joined = np.concatenate([np.ones(held, bool), joined])
        joined[:1] = False
        repeats = np.concatenate([self._repeats, repeats])
        begins = np.flatnonzero(~joined)
        lengths = np.diff(np.append(begins, len(rows)))
        starts = _possible(begins, lengths, self._length)
        # Where the rows of another timestamp begin: a window that ends before is followed there at the earliest.
        borders = np.append(np.flatnonzero(~repeats), len(rows))
        if self._free is not None:
            free = int(np.searchsorted(rows, self._free))
        else:
            free = int(borders[np.searchsorted(borders, held)])
        follow = borders[np.searchsorted(borders, starts + self._length - 1, "right")]
        chosen = starts[_chain(int(np.searchsorted(starts, free)), np.searchsorted(starts, follow))]
        if len(chosen):
            free = int(follow[np.searchsorted(starts, chosen[-1])])
        if len(chosen) or self._free is None:
            self._free = int(rows[free]) if free < len(rows) else None
        keep = min(self._length - 1, int(lengths[-1]))
        self._rows, self._repeats = rows[len(rows) - keep :], repeats[len(rows) - keep :]
        return rows[chosen]


def _possible(begins: Array, lengths: Array, length: int) -> Array:
    """int64: the indices at which a window of `length` may start, in stretches that begin at `begins`."""
    counts = np.maximum(0, lengths - length + 1)
    ends = np.cumsum(counts)
    starts: Array = np.arange(int(ends[-1]), dtype=np.int64) + np.repeat(begins - (ends - counts), counts)
    return starts


def _chain(first: int, following: Array) -> Array:
    """int64: `first`, `following[first]`, and so on while below `len(following)`. following: int64, above its index.

    By doubling: what is 1, 2, 4, … steps away, so there is no loop over the links.
    """
    size = len(following)
    reached = np.array([first], np.int64)
    if first >= size:
        return np.zeros(0, np.int64)
    jump = np.append(following, size)
    while True:
        more = jump[reached]
        more = more[more < size]
        if not len(more):
            return np.asarray(reached, np.int64)
        reached = np.concatenate([reached, more])
        jump = jump[jump]

"""What one shard reads in one epoch: elements, each a block of samples or a part of one, and what makes them up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfpetastorm.plan.order import block_permutation
from tfpetastorm.plan.shards import Take
from tfpetastorm.plan.tasks import ReadTask, TaskTable
from tfpetastorm.plan.windows import WindowIndex
from tfpetastorm.schema.columns import Array


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of a dataset, in stored order.

    tasks: the read tasks. count: int64 `[n]`, samples of each: rows that it gives after splits and filters, or windows
    that start in it. selected: whether filters or splits may leave out rows within a task. windows: None where a
    sample is a row. units: int64 `[n]`, ascending, tasks that stay together when the order is permuted; None for row
    groups.
    """

    tasks: TaskTable
    count: Array
    selected: bool = False
    windows: WindowIndex | None = None
    units: Array | None = None

    @cached_property
    def first(self) -> Array:
        """int64 `[n + 1]`: the stored number of each task's first sample, and how many there are."""
        return _running(self.count)

    @cached_property
    def first_row(self) -> Array:
        """int64 `[n + 1]`: the stored number of each task's first row, as windows count them."""
        return _running(self.tasks.stop - self.tasks.start)

    @property
    def total(self) -> int:
        """How many there are."""
        return int(self.first[-1])


@dataclass(frozen=True, eq=False)
class Stream:
    """The samples of one epoch before blocks are mixed: whole tasks in the order of `order` (int64), which leaves out
    tasks without samples. block: samples of a block; 0 where nothing is mixed."""

    samples: Samples
    order: Array
    seed: int
    epoch: int
    block: int

    @cached_property
    def ends(self) -> Array:
        """int64 `[n]`: places of the stream up to the end of each task, in the stream's order."""
        return np.cumsum(self.samples.count[self.order])

    def permutation(self, block: int) -> Array:
        """int32: the places of a block, counted from its start, in mixed order."""
        size = min(self.block, self.samples.total - block * self.block)
        return block_permutation(self.seed, self.epoch, block, size)

    def places(self, lo: int, hi: int) -> Array:
        """int64 `[hi - lo]`: the places in the stream of positions of the order, which lie in one block."""
        if not self.block:
            return np.arange(lo, hi, dtype=np.int64)
        block = lo // self.block
        start = block * self.block
        found: Array = start + self.permutation(block)[lo - start : hi - start].astype(np.int64)
        return found

    def places_of(self, positions: Array) -> Array:
        """int64: the places in the stream of any positions of the order."""
        if not self.block or not len(positions):
            return positions
        found = np.empty(len(positions), np.int64)
        blocks = positions // self.block
        order = np.argsort(blocks, kind="stable")
        for mine in np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1):
            block = int(blocks[mine[0]])
            found[mine] = block * self.block + self.permutation(block)[positions[mine] - block * self.block]
        return found

    def locate(self, places: Array) -> tuple[Array, Array]:
        """int64, int64: the task of each place, and which of that task's samples it is."""
        rank = np.searchsorted(self.ends, places, "right")
        task = self.order[rank]
        return task, places - (self.ends[rank] - self.samples.count[task])

    def stored_at(self, positions: Array) -> Array:
        """int64: the stored numbers of the samples at these positions of the order."""
        return self.stored(self.places_of(positions))

    def stored(self, places: Array) -> Array:
        """int64: the stored number of each place's sample."""
        task, number = self.locate(places)
        found: Array = self.samples.first[task] + number
        return found


@dataclass(frozen=True, eq=False)
class Piece:
    """One read of an element. task: its index among all tasks. rows: how many rows it gives."""

    task: int
    read: ReadTask
    rows: int


class Element:
    """What one call of the source op gives: the rows of some pieces one after another, and how to pick samples.

    samples: how many there are. padding: whether they are copies that are marked as such.
    """

    def __init__(self, stream: Stream, lo: int, hi: int, copies: Array | None = None, padding: bool = False) -> None:
        self._stream = stream
        self._lo, self._hi = lo, hi
        self._copies = copies
        self.samples = hi - lo if copies is None else len(copies)
        self.padding = padding

    @property
    def _is_run(self) -> bool:
        """Whether its samples are all of a run of places of the stream."""
        block = self._stream.block
        if self._copies is not None:
            return False
        return not block or (self._lo % block == 0 and self._hi == min(self._lo + block, self._stream.samples.total))

    @cached_property
    def _places(self) -> Array:
        if self._copies is not None:
            return self._stream.places_of(self._copies)
        return self._stream.places(self._lo, self._hi)

    @cached_property
    def _starts(self) -> Array:
        """int64 `[samples]`: the stored number of each window's first row."""
        windows = self._stream.samples.windows
        assert windows is not None
        return windows.starts(self._stream.stored(self._places))

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """What has to be read, in the order in which `index` counts the rows."""
        samples = self._stream.samples
        if samples.windows is not None:
            return self._window_pieces(samples)
        if self._is_run:
            ends = self._stream.ends
            ranks = np.arange(np.searchsorted(ends, self._lo, "right"), np.searchsorted(ends, self._hi, "left") + 1)
            tasks = self._stream.order[ranks]
            begins = ends[ranks] - samples.count[tasks]
            lows, highs = np.maximum(self._lo - begins, 0), np.minimum(self._hi - begins, samples.count[tasks])
            found = zip(tasks.tolist(), lows.tolist(), highs.tolist(), strict=True)
            return tuple(_piece(samples, task, low, high) for task, low, high in found)
        tasks, numbers = self._stream.locate(self._wanted)
        cuts = np.flatnonzero(np.diff(tasks)) + 1
        parts = zip(np.split(tasks, cuts), np.split(numbers, cuts), strict=True)
        return tuple(_sparse_piece(samples, int(task[0]), number) for task, number in parts)

    @cached_property
    def _wanted(self) -> Array:
        """int64: the distinct places, ascending."""
        return np.unique(self._places)

    def _window_pieces(self, samples: Samples) -> tuple[Piece, ...]:
        windows = samples.windows
        assert windows is not None
        starts = np.unique(self._starts)
        # The rows of all windows: intervals, those that touch joined, cut where tasks end.
        gaps = np.flatnonzero(np.diff(starts) > windows.length)
        lows = starts[np.concatenate([[0], gaps + 1])]
        highs = starts[np.concatenate([gaps, [len(starts) - 1]])] + windows.length
        first = samples.first_row
        begin = np.searchsorted(first, lows, "right") - 1
        end = np.searchsorted(first, highs, "left")
        spans = end - begin
        which = np.repeat(np.arange(len(lows)), spans)
        tasks = np.arange(int(spans.sum())) - np.repeat(np.cumsum(spans) - spans - begin, spans)
        low = np.maximum(lows[which], first[tasks]) - first[tasks]
        high = np.minimum(highs[which], first[tasks + 1]) - first[tasks]
        borders = np.concatenate([[0], np.flatnonzero(np.diff(tasks)) + 1, [len(tasks)]])
        pieces = []
        for a, b in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
            task = int(tasks[a])
            if b - a == 1:
                pieces.append(_piece(samples, task, int(low[a]), int(high[a])))
            else:
                lengths = high[a:b] - low[a:b]
                shift = np.repeat(np.cumsum(lengths) - lengths - low[a:b], lengths)
                pieces.append(_sparse_piece(samples, task, np.arange(int(lengths.sum())) - shift))
        return tuple(pieces)

    @property
    def index(self) -> Array | None:
        """int32 `[samples]`: the row of each sample among the rows of all pieces: a window's first row. None where
        samples are the rows as they come."""
        samples = self._stream.samples
        if samples.windows is not None:
            rows = np.concatenate([self._rows_of(piece) for piece in self.pieces])
            return np.searchsorted(rows, self._starts).astype(np.int32)
        if not self._stream.block and self._copies is None:
            return None
        if self._is_run:
            return self._stream.permutation(self._lo // self._stream.block)
        return np.searchsorted(self._wanted, self._places).astype(np.int32)

    def _rows_of(self, piece: Piece) -> Array:
        """int64: the stored numbers of a piece's rows."""
        first = int(self._stream.samples.first_row[piece.task])
        start = piece.read.start - int(self._stream.samples.tasks.start[piece.task])
        taken = np.arange(piece.rows) if piece.read.take is None else piece.read.take
        return first + start + taken


def _piece(samples: Samples, task: int, low: int, high: int) -> Piece:
    """The read of the samples (or, with windows, rows) `low` to `high` of a task."""
    whole = samples.tasks.task(task)
    if samples.selected and samples.windows is None:
        if high - low == samples.count[task]:
            return Piece(task, whole, high - low)
        return Piece(task, ReadTask(whole.row_group, whole.start, whole.stop, np.arange(low, high)), high - low)
    return Piece(task, ReadTask(whole.row_group, whole.start + low, whole.start + high), high - low)


def _sparse_piece(samples: Samples, task: int, numbers: Array) -> Piece:
    """The read of some samples (or rows) of a task, by ascending numbers."""
    if numbers[-1] - numbers[0] + 1 == len(numbers):
        return _piece(samples, task, int(numbers[0]), int(numbers[-1]) + 1)
    whole = samples.tasks.task(task)
    return Piece(task, ReadTask(whole.row_group, whole.start, whole.stop, numbers), len(numbers))


class Layout:
    """The elements of one shard in one epoch."""

    def __init__(self, stream: Stream, take: Take) -> None:
        self._stream = stream
        self._take = take
        lows, highs = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for lo, hi in zip(take.stretch.lo.tolist(), take.stretch.hi.tolist(), strict=True):
            cuts = self._borders(lo, hi)
            lows.append(np.concatenate([[lo], cuts]))
            highs.append(np.concatenate([cuts, [hi]]))
        self._lo, self._hi = np.concatenate(lows), np.concatenate(highs)
        self._before = _running(self._hi - self._lo)

    def _borders(self, lo: int, hi: int) -> Array:
        """int64: the positions strictly within an interval at which an element ends: with a block, task or unit."""
        stream = self._stream
        if stream.block:
            return np.arange((lo // stream.block + 1) * stream.block, hi, stream.block, dtype=np.int64)
        ends = stream.ends[np.searchsorted(stream.ends, lo, "right") : np.searchsorted(stream.ends, hi, "left")]
        if stream.samples.units is None or not len(ends):
            return ends
        ranks = np.searchsorted(stream.ends, ends, "left")
        units = stream.samples.units[stream.order]
        cuts: Array = ends[units[ranks + 1] != units[ranks]]
        return cuts

    def __len__(self) -> int:
        return len(self._lo) + bool(len(self._take.copies))

    def element(self, number: int) -> Element:
        """The element with this number, from 0."""
        if number < len(self._lo):
            return Element(self._stream, int(self._lo[number]), int(self._hi[number]))
        return Element(self._stream, 0, 0, self._take.copies, self._take.padding)

    def before(self, number: int) -> int:
        """Samples of the elements before this one."""
        return int(self._before[number])

    @property
    def samples(self) -> int:
        """Samples of all elements."""
        return self._take.total

    def positions(self) -> Array:
        """int64: the positions of the epoch's order that come, copies too."""
        parts = [np.arange(lo, hi) for lo, hi in zip(self._lo.tolist(), self._hi.tolist(), strict=True)]
        return np.concatenate([*parts, self._take.copies]).astype(np.int64)


def _running(counts: Array) -> Array:
    ends = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    return ends

"""The elements of a plan as columns: what the pool read, put together, in NumPy."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from tfpetastorm.errors import DamagedDataError, DatasetChangedError, describe
from tfpetastorm.feed.skip import SkipLedger
from tfpetastorm.plan.epochs import EpochPlan, Key
from tfpetastorm.plan.layout import Element, Piece
from tfpetastorm.plan.order import block_permutation
from tfpetastorm.pool.lookahead import LookAhead, PoolStats, Sequence
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.ops import take
from tfpetastorm.read.result import Counts, TaskResult
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.columns import Array, Column


@dataclass(frozen=True)
class SourceStats:
    """What a dataset has read so far.

    counts: work done. skipped_rows: distinct damaged rows left out. pool: what the pool did.
    """

    counts: Counts
    skipped_rows: int
    pool: PoolStats


@dataclass(frozen=True, eq=False)
class ElementRows:
    """One element. columns: rows, one piece after another. index: which of them the samples are, in their order (of a
    window, its first row); None where the samples are the rows as they come. element: what was planned."""

    columns: dict[str, Column]
    index: Array | None
    element: Element

    @property
    def rows(self) -> int:
        """Rows that were read."""
        return next(iter(self.columns.values())).rows

    @property
    def samples(self) -> int:
        """Samples that these are."""
        return self.rows if self.index is None else len(self.index)


class ElementReader:
    """Gives element `number` of an epoch, and reads ahead. Holds nothing large: the inventory, the plan, and a pool
    that ends by itself and starts again on demand.

    row_bytes: float64 `[tasks]`, what a row of each read task costs. counted: whether the plan knows exactly how many
    rows each task gives; else filters may leave some out, which then just don't come.
    """

    def __init__(
        self,
        plan: EpochPlan,
        reader: TaskReader,
        options: PoolOptions,
        row_bytes: Array,
        ledger: SkipLedger,
        counted: bool = True,
    ) -> None:
        self.plan = plan
        self.fields = reader.spec.output
        self.ledger = ledger
        self._counted = counted
        self._reader = reader
        self._lock = threading.Lock()
        self._counts = Counts()

        def cost(key: Key) -> int:
            piece = plan.element(key.epoch, key.element).pieces[key.piece]
            return max(1, int(piece.rows * row_bytes[piece.task]))

        self.pool = LookAhead(options, reader.run, reader.spec, Sequence(plan.read, plan.next_key, cost), reader.close)

    @property
    def stats(self) -> SourceStats:
        """What was read so far."""
        with self._lock:
            counts = self._counts
        return SourceStats(counts, self.ledger.rows, self.pool.stats)

    def read(self, epoch: int, number: int, again: bool = False) -> ElementRows:
        """An element. again: whether another pass is likely after this one, whose first tasks are then read ahead.

        Raises what reading a task raises (see `TaskReader.run`), DatasetChangedError where rows were counted and are
        others now, SkipBudgetError, PoolError.
        """
        element = self.plan.element(epoch, number)
        results = []
        for place, piece in enumerate(element.pieces):
            key = Key(epoch, number, place)
            result = self.pool.fetch(key, self._then(key) if again else None)
            self._note(result, piece)
            results.append(result)
        if not self._counted:
            return self._as_they_came(element, results, epoch, number)
        columns, index = self._assembled(element, results) or self._from_others(element, epoch, number)
        return ElementRows(columns, index, element)

    def _then(self, key: Key) -> Key | None:
        """What to expect after the last key of a pass."""
        if self.plan.next_key(key) is not None:
            return None
        return Key(key.epoch if self.plan.pinned else key.epoch + 1, 0)

    def _note(self, result: TaskResult, piece: Piece) -> None:
        """Counts a result. Raises DatasetChangedError if it has another number of rows than was planned."""
        self.ledger.add(result.damage)
        with self._lock:
            self._counts += result.counts
        if self._counted and result.rows != piece.rows and not result.damage:
            raise DatasetChangedError(
                describe(
                    "where= or split= gives another number of rows than when it was counted",
                    self._reader.spec.source.place(piece.read.row_group),
                    expected=f"{piece.rows} rows",
                    found=f"{result.rows} rows",
                    remedy="If the file was written anew, open the dataset again; a where= function must give the same "
                    "rows the same answer every time.",
                )
            )

    def _as_they_came(self, element: Element, results: list[TaskResult], epoch: int, number: int) -> ElementRows:
        """The rows that came, mixed where the plan mixes. Which these are is a function of the dataset and options, and
        so is their order."""
        columns = self._reader.join(results)
        if not self.plan.mixes:
            return ElementRows(columns, None, element)
        rows = sum(result.rows for result in results)
        if rows == sum(piece.rows for piece in element.pieces):
            return ElementRows(columns, element.index, element)
        return ElementRows(columns, block_permutation(self.plan.seed, epoch, number, rows), element)

    def _assembled(self, element: Element, results: list[TaskResult]) -> tuple[dict[str, Column], Array | None] | None:
        """The rows of all pieces and the index of samples; None where damage left no sample whole.

        The place of a sample with a damaged row is taken by another one of the same element.
        """
        columns = self._reader.join(results)
        index = element.index
        if any(result.rows != piece.rows for result, piece in zip(results, element.pieces, strict=True)):
            windows = self.plan.samples.windows
            slots = _slots(element.pieces, results)
            index = np.arange(len(slots)) if index is None else index
            lost = np.concatenate([[0], np.cumsum(slots < 0)])
            whole = lost[index + (1 if windows is None else windows.length)] == lost[index]
            if not whole.any():
                return None
            index = slots[index]
            index[~whole] = np.resize(index[whole], int((~whole).sum()))
        return columns, index

    def _from_others(self, element: Element, epoch: int, number: int) -> tuple[dict[str, Column], Array | None]:
        """Samples of the elements that follow, in the place of those of an element of which nothing is left."""
        count = len(self.plan.layout(epoch))
        for step in range(1, count):
            other = self.plan.element(epoch, (number + step) % count)
            results = [self.pool.run_now(piece.read) for piece in other.pieces]
            for result, piece in zip(results, other.pieces, strict=True):
                self._note(result, piece)
            found = self._assembled(other, results)
            if found is not None:
                columns, index = found
                if index is not None:
                    return columns, np.resize(index, element.samples)
                picked = np.arange(element.samples) % other.samples
                return {name: take(column, picked) for name, column in columns.items()}, None
        raise DamagedDataError("No row of the dataset can be read: every row group is damaged. Restore the files.")


def _slots(pieces: tuple[Piece, ...], results: list[TaskResult]) -> Array:
    """int64: for each row that was planned, which of the rows that came it is; -1 where it is lost."""
    parts, base = [], 0
    for piece, result in zip(pieces, results, strict=True):
        slots = np.full(piece.rows, -1, np.int64)
        kept = np.arange(result.rows) if result.kept is None else result.kept
        slots[kept] = base + np.arange(result.rows)
        parts.append(slots)
        base += result.rows
    return np.concatenate(parts)

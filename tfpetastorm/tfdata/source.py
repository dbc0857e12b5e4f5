"""The source op: a range of elements mapped to what the pool read for them."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfpetastorm.errors import DamagedDataError, DatasetChangedError, OptionError, TfpetastormError, describe
from tfpetastorm.plan.epochs import EpochPlan, Key
from tfpetastorm.plan.layout import Element, Piece
from tfpetastorm.pool.lookahead import LookAhead, PoolStats, Sequence
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.ops import take
from tfpetastorm.read.result import Counts, TaskResult
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.columns import Array, Column
from tfpetastorm.tfdata.passes import PassNumbers, pass_tokens
from tfpetastorm.tfdata.skip import SkipLedger
from tfpetastorm.tfdata.specs import flat_dtypes, flatten, unflatten


@dataclass(frozen=True)
class SourceStats:
    """What a dataset has read so far.

    counts: work done. skipped_rows: distinct damaged rows left out. pool: what the pool did.
    """

    counts: Counts
    skipped_rows: int
    pool: PoolStats


@dataclass(frozen=True)
class Given:
    """What the source op gives for one element, in the graph.

    rows: by field, tensors `[rows, *shape]`, ragged where the shape is. index: with windows int32 `[samples]`, the
    first row of each; where rows are mixed int32 `[rows]`, which sample each row is; None where the rows are the
    samples as they come. before: with windows, int64: how many samples come before this element. real: bool
    `[samples]`, False for padding, or None where nothing is padded.
    """

    rows: dict[str, Any]
    index: Any
    before: Any
    real: Any


class ElementSource:
    """Gives element `number` of an epoch. TensorFlow keeps the function that calls it for good, so this holds nothing
    large: the inventory, the plan, and a pool that ends by itself and starts again on demand.

    row_bytes: float64 `[tasks]`, what a row of each read task costs. marked: whether padding is told from other rows.
    """

    def __init__(
        self,
        plan: EpochPlan,
        reader: TaskReader,
        options: PoolOptions,
        row_bytes: Array,
        ledger: SkipLedger,
        marked: bool = False,
    ) -> None:
        self.plan = plan
        self.fields = reader.spec.output
        self.ledger = ledger
        self.marked = marked
        #: The epoch with which every pass begins from now on; None: each goes on where the one before ended. For those
        #: who count epochs themselves, since Keras begins passes that nobody reads.
        self.epoch_now: int | None = None
        self._reader = reader
        self._identity = secrets.randbits(63)
        self._lock = threading.Lock()
        self._counts = Counts()
        self._passes: PassNumbers = PassNumbers()
        self._passes_begun = 0

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

    # ------------------------------------------------------------------ Python's side

    def begin(self, token: int) -> int:
        """The number of the first epoch of the pass with this token."""
        number = self._passes.number(token)
        with self._lock:
            self._passes_begun += 1
        return self.plan.pass_start(number) if self.epoch_now is None else self.epoch_now

    def fetch(self, epoch: int, number: int) -> list[Array]:
        """The flat arrays (see `flatten`) of an element, then what else `Given` holds."""
        element = self.plan.element(epoch, number)
        results = []
        for place, piece in enumerate(element.pieces):
            key = Key(epoch, number, place)
            result = self.pool.fetch(key, self._then(key))
            self._note(result, piece)
            results.append(result)
        found = self._assembled(element, results) or self._from_others(element, epoch, number)
        columns, index = self._ready(*found)
        arrays = flatten(columns, self.fields)
        if index is not None:
            arrays.append(index)
        if self._windows:
            arrays.append(np.array(self.plan.layout(epoch).before(number)))
        if self.marked:
            arrays.append(np.full(element.samples, not element.padding))
        return arrays

    @property
    def _windows(self) -> bool:
        return self.plan.samples.windows is not None

    def _then(self, key: Key) -> Key | None:
        """What to expect after the last key of a pass, if a further pass is likely."""
        if self._passes_begun < 2 or self.plan.next_key(key) is not None:
            return None
        # A second pass was begun, so a third is likely: its first tasks are read while this one ends.
        return Key(key.epoch if self.plan.pinned else key.epoch + 1, 0)

    def _note(self, result: TaskResult, piece: Piece) -> None:
        """Counts a result. Raises DatasetChangedError if it has another number of rows than was planned."""
        self.ledger.add(result.damage)
        with self._lock:
            self._counts += result.counts
        if result.rows != piece.rows and not result.damage:
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

    def _ready(self, columns: dict[str, Column], index: Array | None) -> tuple[dict[str, Column], Array | None]:
        """Rows, and which of them the samples are, as `Given` has them."""
        if index is None or self.plan.samples.windows is not None:
            return columns, None if index is None else index.astype(np.int32)
        rows = next(iter(columns.values())).rows
        if self.plan.mixes and len(index) == rows:
            places = np.full(rows, -1, np.int32)
            places[index] = np.arange(rows, dtype=np.int32)
            if places.min() >= 0:
                return columns, places
        # Copies, or others in the place of damaged rows: rare, and not the graph's.
        columns = {name: take(column, index) for name, column in columns.items()}
        return columns, np.arange(len(index), dtype=np.int32) if self.plan.mixes else None

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

    # ------------------------------------------------------------------ the graph's side

    def epochs(self) -> Any:
        """A dataset of the epoch numbers (int64) of one pass."""

        def begin(token: Any, identity: Any) -> Any:
            if int(identity) != self._identity:
                # TensorFlow knows functions by a running number, so that a graph sent here finds others' in its place.
                raise OptionError(
                    "This dataset was made in another process, whose Python functions do not exist here: a remote "
                    "tf.data service or parameter server can't run it. Call make_dataset where it is iterated."
                )
            return np.int64(self.begin(int(token)))

        def numbered(token: Any) -> Any:
            # Here and not in a map before: that would keep TensorFlow from saving how far the tokens have come.
            number = tf.numpy_function(begin, [token, np.int64(self._identity)], tf.int64, stateful=False)
            first = tf.ensure_shape(number, [])
            last = first + self.plan.epochs if self.plan.epochs is not None else tf.int64.max
            return tf.data.Dataset.range(first, last)

        return pass_tokens().flat_map(unconverted(numbered))

    def elements_of(self, epoch: Any) -> Any:
        """A dataset of the elements of one epoch: what `given` takes."""
        dtypes = flat_dtypes(self.fields)
        dtypes += [tf.int32] * self.plan.mixes + [tf.int64] * self._windows + [tf.bool] * self.marked

        def count(epoch: Any) -> Any:
            return np.int64(len(self.plan.layout(int(epoch))))

        def fetch(epoch: Any, number: Any) -> list[Array]:
            try:
                return self.fetch(int(epoch), int(number))
            except TfpetastormError as error:
                # TensorFlow puts the whole traceback into its message; ours says what, where and what to do.
                raise error.with_traceback(None) from None

        def read(number: Any) -> Any:
            # Stateless, and so it is, in all that comes out: TensorFlow then saves and restores the iterator.
            tensors = tf.numpy_function(fetch, [epoch, number], dtypes, stateful=False)
            return tuple(tensors) if isinstance(tensors, (list, tuple)) else (tensors,)

        elements = tf.ensure_shape(tf.numpy_function(count, [epoch], tf.int64, stateful=False), [])
        return tf.data.Dataset.range(elements).map(unconverted(read))

    def given(self, *tensors: Any) -> Given:
        """An element of `elements_of`, its parts by name and with their static shapes."""
        rest = list(tensors)
        real = rest.pop() if self.marked else None
        before = tf.ensure_shape(rest.pop(), []) if self._windows else None
        index = rest.pop() if self.plan.mixes else None
        for vector in (real, index):
            if vector is not None:
                vector.set_shape([None])
        return Given(unflatten(rest, self.fields), index, before, real)


def unconverted(function: Any) -> Any:
    """A function for the graph that AutoGraph leaves alone: it has nothing to convert, and would warn of lambdas."""
    return tf.autograph.experimental.do_not_convert(function)


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

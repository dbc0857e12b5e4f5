"""The source op: a range of positions mapped to what the pool read for them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfpetastorm.errors import DamagedDataError, DatasetChangedError, TfpetastormError, describe
from tfpetastorm.plan.epochs import EpochPlan, Key
from tfpetastorm.pool.lookahead import LookAhead, PoolStats, Sequence
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.ops import take
from tfpetastorm.read.result import Counts, TaskResult
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.columns import Array
from tfpetastorm.tfdata.passes import PassNumbers, pass_tokens
from tfpetastorm.tfdata.skip import SkipLedger
from tfpetastorm.tfdata.specs import flat_dtypes, flatten, unflatten

#: Epoch orders kept: that of the epoch under way, of the next one, and of other iterators.
_ORDERS = 6


@dataclass(frozen=True)
class SourceStats:
    """What a dataset has read so far.

    counts: work done. skipped_rows: distinct damaged rows left out. pool: what the pool did.
    """

    counts: Counts
    skipped_rows: int
    pool: PoolStats


class ElementSource:
    """Gives the element at (epoch, position). TensorFlow keeps the function that calls it for good, so this holds
    nothing large: the inventory, the plan, and a pool that ends by itself and starts again on demand."""

    def __init__(
        self, plan: EpochPlan, reader: TaskReader, options: PoolOptions, task_bytes: Array, ledger: SkipLedger
    ) -> None:
        self.plan = plan
        self.fields = reader.spec.output
        self.ledger = ledger
        self._reader = reader
        self._orders: OrderedDict[int, Array] = OrderedDict()
        self._lock = threading.Lock()
        self._counts = Counts()
        self._passes: PassNumbers = PassNumbers()
        self._passes_begun = 0
        sequence = Sequence(self._task_of, plan.next_key, lambda key: int(task_bytes[self._index(key)]))
        self.pool = LookAhead(options, reader.run, reader.spec, sequence, reader.close)

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
        return self.plan.pass_start(number)

    def fetch(self, epoch: int, position: int) -> list[Array]:
        """The flat arrays (see `flatten`) of the read task at (epoch, position)."""
        key = Key(epoch, position)
        then = None
        if position + 1 == len(self.plan.tasks) and self._passes_begun > 1:
            # A second pass was begun, so a third is likely: its first tasks are read while this one ends.
            then = Key(epoch if self.plan.pinned else epoch + 1, 0)
        result = self.pool.fetch(key, then)
        self.ledger.add(result.damage)
        with self._lock:
            self._counts += result.counts
        expected = int(self.plan.rows[self._index(key)])
        if result.rows != expected:
            if not result.damage:
                raise self._unexpected(key, expected, result.rows)
            result = self._refill(result, expected, key)
        return flatten(result.columns, self.fields)

    def _refill(self, result: TaskResult, expected: int, key: Key) -> TaskResult:
        """Puts other rows in the place of damaged ones: this task's own in turn, else those of the tasks after it."""
        if result.rows:
            rows = np.concatenate([np.arange(result.rows), np.arange(expected - result.rows) % result.rows])
            return _rows_of(result, rows[:expected])
        n = len(self.plan.tasks)
        for step in range(1, n):
            other = self.pool.run_now(self._task_of(Key(key.epoch, (key.position + step) % n)))
            self.ledger.add(other.damage)
            with self._lock:
                self._counts += other.counts
            if other.rows:
                return _rows_of(other, np.arange(expected) % other.rows)
        raise DamagedDataError("No row of the dataset can be read: every row group is damaged. Restore the files.")

    def _unexpected(self, key: Key, expected: int, found: int) -> DatasetChangedError:
        task = self._task_of(key)
        return DatasetChangedError(
            describe(
                "where= or split= gives another number of rows than when it was counted",
                self._reader.spec.source.place(task.row_group),
                expected=f"{expected} rows",
                found=f"{found} rows",
                remedy="If the file was written anew, open the dataset again; a where= function must give the same "
                "rows the same answer every time.",
            )
        )

    def _index(self, key: Key) -> int:
        with self._lock:
            order = self._orders.get(key.epoch)
            if order is None:
                order = self._orders[key.epoch] = self.plan.order(key.epoch)
                while len(self._orders) > _ORDERS:
                    self._orders.popitem(last=False)
        return int(order[key.position])

    def _task_of(self, key: Key) -> Any:
        return self.plan.task(self._index(key))

    # ------------------------------------------------------------------ the graph's side

    def epochs(self) -> Any:
        """A dataset of the epoch numbers (int64) of one pass."""

        def begin(token: Any) -> Any:
            return np.int64(self.begin(int(token)))

        def numbered(token: Any) -> Any:
            # Here and not in a map before: that would keep TensorFlow from saving how far the tokens have come.
            first = tf.ensure_shape(tf.numpy_function(begin, [token], tf.int64, stateful=False), [])
            last = first + self.plan.epochs if self.plan.epochs is not None else tf.int64.max
            return tf.data.Dataset.range(first, last)

        return pass_tokens().flat_map(unconverted(numbered))

    def tasks_of(self, epoch: Any) -> Any:
        """A dataset of the read tasks of one epoch: dicts of tensors by field, `[rows, *shape]`, ragged where it is."""
        dtypes = flat_dtypes(self.fields)

        def fetch(epoch: Any, position: Any) -> list[Array]:
            try:
                return self.fetch(int(epoch), int(position))
            except TfpetastormError as error:
                # TensorFlow puts the whole traceback into its message; ours says what, where and what to do.
                raise error.with_traceback(None) from None

        def read(position: Any) -> dict[str, Any]:
            # Stateless, and so it is, in all that comes out: TensorFlow then saves and restores the iterator.
            tensors = tf.numpy_function(fetch, [epoch, position], dtypes, stateful=False)
            return unflatten(tensors if isinstance(tensors, (list, tuple)) else [tensors], self.fields)

        return tf.data.Dataset.range(len(self.plan.tasks)).map(unconverted(read))


def unconverted(function: Any) -> Any:
    """A function for the graph that AutoGraph leaves alone: it has nothing to convert, and would warn of lambdas."""
    return tf.autograph.experimental.do_not_convert(function)


def _rows_of(result: TaskResult, rows: Array) -> TaskResult:
    columns = {name: take(column, rows) for name, column in result.columns.items()}
    return TaskResult(len(rows), columns, result.damage, result.counts)

"""The source op: a range of elements mapped to what the pool read for them."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfpetastorm.errors import OptionError, TfpetastormError
from tfpetastorm.feed.elements import ElementReader
from tfpetastorm.feed.skip import SkipLedger
from tfpetastorm.plan.epochs import EpochPlan
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.ops import take
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.columns import Array, Column
from tfpetastorm.tfdata.passes import PassNumbers, pass_tokens
from tfpetastorm.tfdata.specs import flat_dtypes, flatten, unflatten


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


class ElementSource(ElementReader):
    """Gives the elements of an epoch to TensorFlow, which keeps the function that calls it for good.

    marked: whether padding is told from other rows. The rest as in `ElementReader`.
    """

    def __init__(
        self,
        plan: EpochPlan,
        reader: TaskReader,
        options: PoolOptions,
        row_bytes: Array,
        ledger: SkipLedger,
        marked: bool = False,
        counted: bool = True,
    ) -> None:
        super().__init__(plan, reader, options, row_bytes, ledger, counted)
        self.marked = marked
        #: The epoch with which every pass begins from now on; None: each goes on where the one before ended. For those
        #: who count epochs themselves, since Keras begins passes that nobody reads.
        self.epoch_now: int | None = None
        self._identity = secrets.randbits(63)
        self._passes: PassNumbers = PassNumbers()
        self._passes_begun = 0
        self._begun_lock = threading.Lock()

    # ------------------------------------------------------------------ Python's side

    def begin(self, token: int) -> int:
        """The number of the first epoch of the pass with this token."""
        number = self._passes.number(token)
        with self._begun_lock:
            self._passes_begun += 1
        return self.plan.pass_start(number) if self.epoch_now is None else self.epoch_now

    def fetch(self, epoch: int, number: int) -> list[Array]:
        """The flat arrays (see `flatten`) of an element, then what else `Given` holds."""
        # A second pass was begun, so a third is likely: its first tasks are read while this one ends.
        found = self.read(epoch, number, again=self._passes_begun > 1)
        element = found.element
        columns, index = self._ready(found.columns, found.index)
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
            try:
                return np.int64(self.begin(int(token)))
            except TfpetastormError as error:
                raise error.with_traceback(None) from None

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

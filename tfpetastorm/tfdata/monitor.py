"""How long training waits for data."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class WaitReport:
    """steps: batches taken. rows: rows in them. wait_seconds: time the consumer waited for them. step_seconds: time
    from the first request to the last, waiting included."""

    steps: int
    rows: int
    wait_seconds: float
    step_seconds: float

    @property
    def wait_share(self) -> float:
        """The share of step time spent waiting for data, 0 to 1."""
        return self.wait_seconds / self.step_seconds if self.step_seconds > 0 else 0.0

    @property
    def rows_per_second(self) -> float:
        """Rows taken a second of step time."""
        return self.rows / self.step_seconds if self.step_seconds > 0 else 0.0


class Monitor:
    """Measures how long whoever iterates over a dataset waits for it.

    `monitor.dataset` has the elements of `dataset`; feed that to `model.fit`. The time a batch is asked for and the
    time it is there are taken in the graph, on the consumer's side of all prefetching, so that reading which training
    hides does not count. The first batch of each pass, for which a pipeline has to start up, is counted with the rest.
    An iterator over `monitor.dataset` can't be saved in a `tf.train.Checkpoint`: clocks have state.
    """

    def __init__(self, dataset: Any) -> None:
        self._lock = threading.Lock()
        self.reset()
        clock = tf.data.Dataset.range(tf.int64.max).map(lambda _: tf.timestamp())

        def note(asked: Any, element: Any, given: Any) -> Any:
            first = tf.nest.flatten(element)[0]
            rows = first.nrows(tf.int64) if isinstance(first, tf.RaggedTensor) else tf.shape(first, tf.int64)[0]
            noted = tf.numpy_function(self._note, [asked, given, rows], tf.bool)
            with tf.control_dependencies([noted]):
                return tf.nest.map_structure(tf.identity, element)

        # zip takes its parts in turn: the clock, the batch, the clock again.
        zipped = tf.data.Dataset.zip((clock, dataset, clock)).map(note)
        cardinality = dataset.cardinality()
        #: The dataset to iterate over.
        self.dataset = (
            zipped.apply(tf.data.experimental.assert_cardinality(cardinality)) if cardinality >= 0 else zipped
        )

    def reset(self) -> None:
        """Starts counting anew."""
        with self._lock:
            self._steps = self._rows = 0
            self._wait = 0.0
            self._first = self._last = 0.0

    def report(self) -> WaitReport:
        """What was measured since the start or the last `reset`."""
        with self._lock:
            return WaitReport(self._steps, self._rows, self._wait, self._last - self._first)

    def _note(self, asked: Any, given: Any, rows: Any) -> Any:
        with self._lock:
            if not self._steps:
                self._first = float(asked)
            self._steps += 1
            self._rows += int(rows)
            self._wait += float(given) - float(asked)
            self._last = float(given)
        return np.bool_(True)

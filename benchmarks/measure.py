"""Timing one pass, and two contestants in alternating rounds."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Pass:
    """One pass: how many rows, the seconds of all of it, and those until the first batch was there."""

    rows: int
    seconds: float
    first_batch_rows: int = 0
    first_batch_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Rows a second, start included."""
        return self.rows / self.seconds

    @property
    def steady_rate(self) -> float:
        """Rows a second after the first batch: what a long run sees."""
        return (self.rows - self.first_batch_rows) / (self.seconds - self.first_batch_seconds)


@dataclass(frozen=True)
class Round:
    """One round of a contest, as rows a second."""

    ours: float
    reference: float

    @property
    def ratio(self) -> float:
        """How many times the reference's rate ours is."""
        return self.ours / self.reference


@dataclass(frozen=True)
class Outcome:
    """A contest's rounds and the ratio that was aimed at."""

    name: str
    unit: str
    target: float | None
    rounds: tuple[Round, ...]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: drift of the machine hits both sides of a round alike."""
        return statistics.median(one.ratio for one in self.rounds)

    @property
    def reached(self) -> bool:
        """Whether the ratio is what was aimed at."""
        return self.target is None or self.ratio >= self.target

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        ours, reference = ([getattr(one, side) for one in self.rounds] for side in ("ours", "reference"))
        return asdict(self) | {
            "ratio": self.ratio,
            "ratio_low": min(one.ratio for one in self.rounds),
            "ratio_high": max(one.ratio for one in self.rounds),
            "ours_rate": statistics.median(ours),
            "reference_rate": statistics.median(reference),
            "reached": self.reached,
        }


def time_dataset(dataset: Any) -> Pass:
    """One pass over a tf.data.Dataset, consumed in a graph as `model.fit` does.

    A loop in Python would add about 0.1 ms a batch, which is half of the time that is to be measured.
    """
    import tensorflow as tf

    def rows_of(batch: Any) -> Any:
        first = tf.nest.flatten(batch)[0]
        return first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first, out_type=tf.int64)[0]

    @tf.function(input_signature=[tf.data.IteratorSpec(dataset.element_spec)])
    def rest(iterator: Any) -> Any:
        rows = tf.constant(0, tf.int64)
        for batch in iterator:
            rows += rows_of(batch)
        return rows

    consume = rest.get_concrete_function()  # traced before the clock runs
    began = time.perf_counter()
    iterator = iter(dataset)
    first = int(rows_of(next(iterator)))
    first_seconds = time.perf_counter() - began
    rows = first + int(consume(iterator))
    return Pass(rows, time.perf_counter() - began, first, first_seconds)


def time_call(work: Callable[[], int]) -> Pass:
    """One pass of something that returns how many rows it produced."""
    began = time.perf_counter()
    rows = work()
    return Pass(rows, time.perf_counter() - began)


def alternate(
    ours: Callable[[], Pass], reference: Callable[[], Pass], rounds: int, *, steady: bool = False
) -> Iterator[Round]:
    """Yields `rounds` rounds, after one round of each that warms caches up and is not counted.

    Who goes first changes from round to round. steady: leave out the time until the first batch.
    """
    rates: dict[Callable[[], Pass], float] = {}
    for number in range(rounds + 1):
        for side in (ours, reference) if number % 2 else (reference, ours):
            gc.collect()
            one = side()
            rates[side] = one.steady_rate if steady else one.rate
        if number:
            yield Round(rates[ours], rates[reference])

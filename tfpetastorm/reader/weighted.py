"""Several readers as one, from which each element is drawn by chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfpetastorm.errors import OptionError, describe
from tfpetastorm.plan.numbers import whole_number

#: Draws made at once.
_DRAWS = 1024


class WeightedSamplingReader:
    """Gives elements of several readers; which reader the next one comes from is drawn with fixed probabilities.

    A pass ends when the reader that was drawn has nothing left. Elements are what the readers give: rows, n-grams, or
    batches of `make_batch_reader`, which are drawn as wholes.

    readers: at least two, alike in their fields' names, dtypes and shapes, in their NGram and in `batched_output`.
    They are this reader's from then on: stopping, joining and resetting it does so to all.
    probabilities: one for each reader; finite, not negative, and divided by their sum, which must be positive.
    seed: decides every draw, of each pass other ones. None draws a seed from NumPy's global generator, so that
    `numpy.random.seed` decides, as it does for petastorm.

    Raises OptionError (a ValueError) for what does not fit together.
    """

    def __init__(self, readers: Sequence[Any], probabilities: Sequence[float], seed: int | None = None) -> None:
        self.readers = list(readers)
        if len(self.readers) < 2:
            raise OptionError(f"Two or more readers must be specified. Got {len(self.readers)}.")
        # The least border above a number in [0, 1) is that of the reader drawn; without a chance, no number is below.
        self._borders = _borders(probabilities, len(self.readers))
        first = self.readers[0]
        for other in self.readers[1:]:
            _check_alike(first, other)
        self.batched_output: bool = first.batched_output
        self.ngram = first.ngram
        self.schema = first.schema
        #: Nobody knows how many: a pass ends where chance has it.
        self.num_epochs = None
        self._seed = _drawn_seed() if seed is None else whole_number("seed", seed, 0)
        self._pass = 0
        self._ended = False
        self._draws = self._drawn()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._take("__next__")

    def next(self) -> Any:
        """The next element. Raises StopIteration at the end of the pass."""
        return self._take("__next__")

    def next_columns(self) -> dict[str, Any]:
        """The columns of the next element, where all readers can give them. Raises StopIteration at the end."""
        return self._take("next_columns")  # type: ignore[no-any-return]

    def _take(self, method: str) -> Any:
        # Stopped readers say so themselves.
        if self._ended and not self.stopped:
            raise StopIteration
        try:
            return getattr(self.readers[next(self._draws)], method)()
        except StopIteration:
            self._ended = True
            raise

    def _drawn(self) -> Iterator[int]:
        generator = np.random.default_rng([self._seed, self._pass])
        while True:
            yield from np.searchsorted(self._borders, generator.random(_DRAWS), side="right").tolist()

    def __len__(self) -> int:
        """The rows of all readers together: the most that a pass can give."""
        return sum(len(reader) for reader in self.readers)

    @property
    def last_row_consumed(self) -> bool:
        """Whether a reader has given its last row."""
        return any(reader.last_row_consumed for reader in self.readers)

    @property
    def stopped(self) -> bool:
        """Whether all readers are stopped."""
        return all(reader.stopped for reader in self.readers)

    @property
    def diagnostics(self) -> dict[str, Any]:
        """What the readers tell of themselves, by their numbers."""
        return {str(number): reader.diagnostics for number, reader in enumerate(self.readers)}

    def reset(self) -> None:
        """Begins a new pass over all readers, at any moment, with new draws."""
        for reader in self.readers:
            reader.reset()
        self._pass += 1
        self._ended = False
        self._draws = self._drawn()

    def stop(self) -> None:
        """Stops all readers."""
        for reader in self.readers:
            reader.stop()

    def join(self) -> None:
        """Waits for the workers of all readers to end."""
        for reader in self.readers:
            reader.join()

    def cleanup_cache(self) -> None:
        """Has all readers clean their caches."""
        for reader in self.readers:
            reader.cleanup_cache()

    def __enter__(self) -> WeightedSamplingReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.join()


def _borders(probabilities: Sequence[float], count: int) -> Any:
    """float64 `[count]`: the upper borders of the readers' shares of [0, 1)."""
    weights = np.asarray(list(probabilities), np.float64)
    if weights.shape != (count,):
        raise OptionError(
            describe(
                "readers and probabilities are expected to be lists of the same length",
                expected=f"{count} probabilities",
                found=len(weights),
            )
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise OptionError(
            describe(
                "probabilities can't be drawn with",
                expected="finite numbers, none negative, one above 0",
                found=weights.tolist(),
            )
        )
    ends = np.cumsum(weights)
    return ends / ends[-1]


def _drawn_seed() -> int:
    return int(np.random.randint(1 << 31))  # noqa: NPY002  # petastorm's users seed the global generator


def _check_alike(first: Any, other: Any) -> None:
    """Raises OptionError if elements of both differ in more than their values."""
    if first.batched_output != other.batched_output:
        raise OptionError(
            "All readers passed to WeightedSamplingReader should have the same batched_output: "
            "all from make_reader, or all from make_batch_reader."
        )
    if first.ngram != other.ngram:
        raise OptionError(
            describe(
                "All readers passed to WeightedSamplingReader should have the same ngram spec",
                expected=first.ngram,
                found=other.ngram,
            )
        )
    told, others = _told(first), _told(other)
    for name in dict.fromkeys([*told, *others]):
        if told.get(name) != others.get(name):
            raise OptionError(
                describe(
                    f"All readers passed to WeightedSamplingReader should have the same schema; field {name!r} differs",
                    expected=told.get(name, "no such field"),
                    found=others.get(name, "no such field"),
                    remedy="Read the same fields of each, and give them one dtype and shape by a TransformSpec.",
                )
            )


def _told(reader: Any) -> dict[str, str]:
    """What the elements have under each name, as it is told."""
    return {
        name: f"{getattr(field.numpy_dtype, '__name__', field.numpy_dtype)} {field.shape}"
        for name, field in reader.schema.fields.items()
    }

"""Petastorm's buffers of rows, for those who use them by themselves. Our own readers and loaders mix columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np


class ShufflingBufferBase(ABC):
    """Items go in by `add_many` and come out by `retrieve`, in an order that the buffer decides. For one thread."""

    @abstractmethod
    def add_many(self, items: Iterable[Any]) -> None:
        """Takes items in. Raises RuntimeError where `can_add` is False."""

    @abstractmethod
    def retrieve(self) -> Any:
        """An item, which then is no longer in the buffer. Raises RuntimeError where `can_retrieve` is False."""

    @abstractmethod
    def can_add(self) -> bool:
        """Whether items may go in."""

    @abstractmethod
    def can_retrieve(self) -> bool:
        """Whether an item may come out."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many items there are."""

    @abstractmethod
    def finish(self) -> None:
        """Nothing more will go in, so that all that is left may come out."""


class NoopShufflingBuffer(ShufflingBufferBase):
    """Items come out in the order in which they went in."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()

    def add_many(self, items: Iterable[Any]) -> None:
        """See `ShufflingBufferBase`."""
        self._items.extend(items)

    def retrieve(self) -> Any:
        """See `ShufflingBufferBase`."""
        if not self._items:
            raise RuntimeError("The buffer is empty: ask can_retrieve() first.")
        return self._items.popleft()

    def can_add(self) -> bool:
        """Always."""
        return True

    def can_retrieve(self) -> bool:
        """Whether there is an item."""
        return bool(self._items)

    @property
    def size(self) -> int:
        """How many items there are."""
        return len(self._items)

    def finish(self) -> None:
        """Changes nothing here."""


class RandomShufflingBuffer(ShufflingBufferBase):
    """Of the items that are there, each comes out with the same chance.

    shuffling_buffer_capacity: items may go in while there are fewer. min_after_retrieve: items come out while there are
    as many, or after `finish`. extra_capacity: by so many items one `add_many` may exceed the capacity. seed: decides
    the order; None takes one from NumPy's global generator, so that `numpy.random.seed` decides, as with petastorm.
    """

    def __init__(
        self,
        shuffling_buffer_capacity: int,
        min_after_retrieve: int,
        extra_capacity: int = 1000,
        *,
        seed: int | None = None,
    ) -> None:
        self._items: list[Any] = []
        self._capacity = shuffling_buffer_capacity
        self._least = min_after_retrieve
        self._most = shuffling_buffer_capacity + extra_capacity
        self._finished = False
        self._generator = np.random.default_rng(
            np.random.randint(1 << 31) if seed is None else seed  # noqa: NPY002  # petastorm's users seed this one
        )

    def add_many(self, items: Iterable[Any]) -> None:
        """See `ShufflingBufferBase`."""
        items = list(items)
        if not self.can_add():
            raise RuntimeError("The buffer is full, or finished: ask can_add() first.")
        if len(self._items) + len(items) > self._most:
            raise RuntimeError(
                f"{len(items)} items beside {len(self._items)} exceed the {self._most} that capacity and "
                "extra_capacity allow."
            )
        self._items.extend(items)

    def retrieve(self) -> Any:
        """See `ShufflingBufferBase`."""
        if not self.can_retrieve():
            raise RuntimeError("Too few items to take one out at random: ask can_retrieve() first.")
        chosen = int(self._generator.integers(len(self._items)))
        self._items[chosen], self._items[-1] = self._items[-1], self._items[chosen]
        return self._items.pop()

    def can_add(self) -> bool:
        """Whether there are fewer items than the capacity, and `finish` was not called."""
        return len(self._items) < self._capacity and not self._finished

    def can_retrieve(self) -> bool:
        """Whether there are enough items, or after `finish` any."""
        return len(self._items) >= max(1, 1 if self._finished else self._least)

    @property
    def size(self) -> int:
        """How many items there are."""
        return len(self._items)

    def finish(self) -> None:
        """See `ShufflingBufferBase`."""
        self._finished = True

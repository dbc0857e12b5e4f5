"""Petastorm's buffers of tensors, for those who use them by themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from tfpetastorm.torch.chunks import Chunk
from tfpetastorm.torch.loaders import drawn_seed
from tfpetastorm.torch.mixing import Mixer, Queue


class BatchedShufflingBufferBase(ABC):
    """Columns go in by `add_many`, batches of their rows come out by `retrieve`. For one thread."""

    def __init__(self, batch_size: int = 1) -> None:
        self.batch_size = batch_size
        self._done_adding = False
        self._held: Mixer | Queue = Queue()

    def add_many(self, items: Iterable[Any]) -> None:
        """Takes in rows: one array or tensor for each column. Raises RuntimeError where `can_add` is False."""
        chunk = {str(number): torch.as_tensor(column).numpy() for number, column in enumerate(items)}
        self._check(len(next(iter(chunk.values()))))
        self._held.add(chunk)

    def _check(self, rows: int) -> None:
        if self._done_adding:
            raise RuntimeError("Nothing can go in after finish().")

    def retrieve(self) -> list[Any]:
        """A batch: one tensor for each column. Raises RuntimeError where `can_retrieve` is False."""
        if not self.can_retrieve():
            raise RuntimeError("Too few rows for a batch: ask can_retrieve() first.")
        batch: Chunk = self._held.take(min(self.batch_size, self._held.rows))
        return [torch.from_numpy(column) for column in batch.values()]

    @abstractmethod
    def can_add(self) -> bool:
        """Whether rows may go in."""

    @abstractmethod
    def can_retrieve(self) -> bool:
        """Whether a batch may come out."""

    @property
    def size(self) -> int:
        """How many rows there are."""
        return self._held.rows

    def finish(self) -> None:
        """Nothing more will go in, so that all that is left may come out."""
        self._done_adding = True


class BatchedNoopShufflingBuffer(BatchedShufflingBufferBase):
    """Rows come out in the order in which they went in."""

    def can_add(self) -> bool:
        """Always."""
        return True

    def can_retrieve(self) -> bool:
        """Whether there is a batch, or after `finish` a row."""
        return self.size >= (1 if self._done_adding else self.batch_size)


class BatchedRandomShufflingBuffer(BatchedShufflingBufferBase):
    """Of the rows that are there, each comes out with the same chance.

    shuffling_buffer_capacity: rows may go in while there are fewer. min_after_retrieve: rows to be left by a batch,
    before `finish`. extra_capacity: by so many rows one `add_many` may exceed the capacity. seed: decides the order;
    None takes one from PyTorch's global generator.
    """

    def __init__(
        self,
        shuffling_buffer_capacity: int,
        min_after_retrieve: int,
        extra_capacity: int = 1000,
        batch_size: int = 1,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(batch_size)
        self._capacity = shuffling_buffer_capacity
        self._least = min_after_retrieve
        self._most = shuffling_buffer_capacity + extra_capacity
        self._held = Mixer(np.random.default_rng(drawn_seed() if seed is None else seed))

    def _check(self, rows: int) -> None:
        super()._check(rows)
        if not self.can_add():
            raise RuntimeError("The buffer is full: ask can_add() first.")
        if self.size + rows > self._most:
            raise RuntimeError(
                f"{rows} rows beside {self.size} exceed the {self._most} that capacity and extra_capacity allow."
            )

    def can_add(self) -> bool:
        """Whether there are fewer rows than the capacity, and `finish` was not called."""
        return self.size < self._capacity and not self._done_adding

    def can_retrieve(self) -> bool:
        """Whether there are enough rows, or after `finish` any."""
        return self.size >= max(1, 1 if self._done_adding else self._least + self.batch_size - 1)

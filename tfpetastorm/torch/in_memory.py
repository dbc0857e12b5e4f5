"""Petastorm's loader that reads once and gives batches from memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, KeysView
from typing import Any

import numpy as np
import torch

from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.torch.chunks import Chunk, chunks, joined
from tfpetastorm.torch.loaders import transformed


class InMemBatchedDataLoader:
    """Batches as dicts of tensors, of the first rows of a reader, which are kept in memory.

    reader: read when this is made, then stopped and joined. batch_size: rows of a batch; the last one of an epoch may
    have fewer. transform_fn: see `BatchedDataLoader`. num_epochs: how often the rows come. seed: decides the orders.
    rows_capacity: rows to read at most. shuffle: another order in each epoch, else that of the reader.

    It can be iterated once, as petastorm's. Raises OptionError for numbers that can't be.
    """

    def __init__(
        self,
        reader: Any,
        batch_size: int = 1,
        transform_fn: Callable[[Any], Any] | None = None,
        num_epochs: int = 1,
        seed: int = 0,
        rows_capacity: int = 1024,
        shuffle: bool = False,
    ) -> None:
        self._batch_size = whole_number("batch_size", batch_size, 1)
        self._num_epochs = whole_number("num_epochs", num_epochs, 0)
        self._seed = whole_number("seed", seed, 0)
        self._shuffle = shuffle
        self._begun = False
        rows_capacity = whole_number("rows_capacity", rows_capacity, 1)
        self._names, self._columns = load_rows(reader, transform_fn, rows_capacity)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._begun:
            raise RuntimeError(
                "InMemBatchedDataLoader couldn't be used multiple times: give the number of epochs as num_epochs."
            )
        self._begun = True
        rows = len(self._columns[0]) if self._columns else 0
        for epoch in range(self._num_epochs):
            order = None
            if self._shuffle:
                # Seeded by both: with their sum, as petastorm has it, seed 1 begins with the second order of seed 0.
                order = np.random.default_rng([self._seed, epoch]).permutation(rows)
            for start in range(0, rows, self._batch_size):
                stop = min(start + self._batch_size, rows)
                index = slice(start, stop) if order is None else order[start:stop]
                batch = (_picked(column, index) for column in self._columns)
                yield dict(zip(self._names, batch, strict=True))

    def __len__(self) -> int:
        """Batches of all epochs."""
        rows = len(self._columns[0]) if self._columns else 0
        return self._num_epochs * -(-rows // self._batch_size)

    def __enter__(self) -> InMemBatchedDataLoader:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to stop."""


def load_rows(
    reader: Any, transform_fn: Callable[[Any], Any] | None, rows_capacity: int
) -> tuple[KeysView[str], list[Any]]:
    """The first rows of a reader, `rows_capacity` of them at most: names, and the columns as `transform_fn` makes
    them. Stops the reader."""
    parts: list[Chunk] = []
    rows = 0
    for chunk in chunks(reader):
        size = len(next(iter(chunk.values())))
        parts.append({name: column[: rows_capacity - rows] for name, column in chunk.items()})
        rows += size
        # Before asking for more: an endless reader has it, a slow one takes its time.
        if rows >= rows_capacity:
            break
    reader.stop()
    reader.join()
    columns = {name: joined([part[name] for part in parts]) for name in parts[0]} if parts else {}
    return columns.keys(), [transformed(name, column, transform_fn) for name, column in columns.items()]


def _picked(column: Any, index: Any) -> Any:
    if isinstance(column, list):
        return column[index] if isinstance(index, slice) else [column[i] for i in index.tolist()]
    return column[index if isinstance(index, slice) else torch.from_numpy(index)]

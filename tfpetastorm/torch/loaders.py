"""Petastorm's loaders: batches of tensors from a reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.torch.chunks import Chunk, chunks
from tfpetastorm.torch.collate import decimal_friendly_collate, sanitize
from tfpetastorm.torch.mixing import Mixer, Queue
from tfpetastorm.torch.tensors import promoted, tensor_or_list

_TWO_PASSES = (
    "You must finish a full pass of Petastorm DataLoader before making another pass from the beginning, "
    "or drop its iterator: both would read the one reader."
)


class LoaderBase:
    """Batches from a reader, in passes: the first goes on with the reader as it is, each further one resets it, also
    where the pass before was left in the middle or failed.

    reader: gives rows or batches; stopped and joined when the loader is left as a context manager. batch_size: rows of
    a batch; the last one of a pass may have fewer. shuffling_queue_capacity: rows held back, of which each batch is
    drawn at random; 0 keeps the reader's order. seed: decides these draws, of each pass other ones; None takes one from
    PyTorch's global generator, so that `torch.manual_seed` decides.

    Raises OptionError for numbers that can't be.
    """

    def __init__(
        self, reader: Any, batch_size: int = 1, shuffling_queue_capacity: int = 0, seed: int | None = None
    ) -> None:
        self.reader = reader
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self.shuffling_queue_capacity = whole_number("shuffling_queue_capacity", shuffling_queue_capacity, 0)
        self._seed = drawn_seed() if seed is None else whole_number("seed", seed, 0)
        self._passes = 0
        self._in_pass = False

    def __iter__(self) -> Iterator[Any]:
        if self._in_pass:
            raise RuntimeError(_TWO_PASSES)
        self._in_pass = True
        try:
            if self._passes:
                self.reader.reset()
            self._passes += 1
            for chunk in self._batches():
                yield self._finished(chunk)
        finally:
            self._in_pass = False

    def _batches(self) -> Iterator[Chunk]:
        held: Mixer | Queue = Queue()
        wait_for = self.batch_size
        if self.shuffling_queue_capacity:
            held = Mixer(np.random.default_rng([self._seed, self._passes]))
            wait_for += self.shuffling_queue_capacity - 1
        for chunk in chunks(self.reader):
            held.add(chunk)
            while held.rows >= wait_for:
                yield held.take(self.batch_size)
        while held.rows:
            yield held.take(min(self.batch_size, held.rows))

    def _finished(self, batch: Chunk) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        """Batches of a pass. Raises TypeError if the reader is endless or can't tell its rows."""
        epochs = getattr(self.reader, "num_epochs", 1)
        if epochs is None:
            raise TypeError("The reader is endless, or nobody knows when its pass ends, and so it is with its batches.")
        return -(-len(self.reader) * epochs // self.batch_size)

    def __enter__(self) -> LoaderBase:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.stop()
        self.reader.join()


class DataLoader(LoaderBase):
    """Batches of rows that `collate_fn` puts together.

    collate_fn: from a list of rows (dicts of NumPy values, arrays in dtypes that PyTorch computes with: uint16 as
    int32, uint32 as int64, bool as uint8) to a batch. The default makes dicts of tensors; text, bytes and Decimals come
    as lists, arrays whose shapes differ as lists of tensors. It is applied to columns; any other one to rows, of which
    Python then makes each: see `BatchedDataLoader`.

    All else is that of `LoaderBase`.
    """

    def __init__(
        self,
        reader: Any,
        batch_size: int = 1,
        collate_fn: Callable[[list[dict[str, Any]]], Any] = decimal_friendly_collate,
        shuffling_queue_capacity: int = 0,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(reader, batch_size, shuffling_queue_capacity, seed)
        self.collate_fn = collate_fn

    def _finished(self, batch: Chunk) -> Any:
        if self.collate_fn is decimal_friendly_collate:
            return {name: tensor_or_list(name, column) for name, column in batch.items()}
        rows = [dict(zip(batch, cells, strict=True)) for cells in zip(*batch.values(), strict=True)]
        for row in rows:
            sanitize(row)
        return self.collate_fn(rows)


class BatchedDataLoader(LoaderBase):
    """Batches as dicts of tensors, by columns all the way.

    transform_fn: from a column, an array `[rows, *shape]`, to a tensor, such as
    `functools.partial(torch.as_tensor, device="cuda")`. Without it text, bytes and Decimals come as lists.

    All else is that of `LoaderBase`.
    """

    def __init__(
        self,
        reader: Any,
        batch_size: int = 1,
        transform_fn: Callable[[Any], Any] | None = None,
        shuffling_queue_capacity: int = 0,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(reader, batch_size, shuffling_queue_capacity, seed)
        self.transform_fn = transform_fn

    def _finished(self, batch: Chunk) -> dict[str, Any]:
        return {name: transformed(name, column, self.transform_fn) for name, column in batch.items()}


def transformed(name: str, column: Any, transform_fn: Callable[[Any], Any] | None) -> Any:
    """A column as `transform_fn` makes it, or as a tensor or list."""
    if transform_fn is None:
        return tensor_or_list(name, column)
    return transform_fn(promoted(column) if column.dtype != object else column)


def drawn_seed() -> int:
    """A seed of PyTorch's global generator."""
    return int(torch.randint(1 << 62, ()).item())

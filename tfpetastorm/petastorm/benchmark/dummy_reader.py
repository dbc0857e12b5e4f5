"""`petastorm.benchmark.dummy_reader`: how fast PyTorch's loaders are on batches that cost nothing to make."""

from __future__ import annotations

import itertools
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

_ELEMENTS = 100


class DummyReader:
    """Endless batches of one field, `test`: float32 `[batch, dim]`."""

    def __init__(self, batch: int = 1000, dim: int = 64) -> None:
        self.batch = batch
        self.dim = dim

    @property
    def is_batched_reader(self) -> bool:
        """Yes."""
        return True

    @property
    def batched_output(self) -> bool:
        """Yes."""
        return True

    def stop(self) -> None:
        """Nothing to stop."""

    def join(self) -> None:
        """Nothing to wait for."""

    def __iter__(self) -> Iterator[Any]:
        row = namedtuple("row", ["test"])
        batch = row(np.random.default_rng(0).random((self.batch, self.dim), np.float32))
        return itertools.repeat(batch)


def main(device: str = "cpu", batch: int = 1000, dim: int = 64) -> None:
    """Prints samples a second of `DataLoader` and `BatchedDataLoader` for several sizes of batches."""
    import torch

    from tfpetastorm.torch.loaders import BatchedDataLoader, DataLoader

    reader: Any = DummyReader(int(batch), int(dim))
    print("Testing DataLoader on cpu")
    for size in (10, 100, 1000):
        _tell(DataLoader(reader, shuffling_queue_capacity=size * 10, batch_size=size), size)
    print("Testing BatchedDataLoader on", device)
    to_device = partial(torch.as_tensor, device=device)
    for size in (10, 100, 1000, 100_000):
        loader = BatchedDataLoader(reader, shuffling_queue_capacity=size * 10, batch_size=size, transform_fn=to_device)
        _tell(loader, size)


def _tell(loader: Any, size: int) -> None:
    batches = iter(loader)
    for _ in range(_ELEMENTS):
        next(batches)
    started = time.perf_counter()
    for _ in range(_ELEMENTS):
        next(batches)
    rate = _ELEMENTS * size / (time.perf_counter() - started)
    print(f"Samples per second for batch {size}: {rate:.4g}")


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]

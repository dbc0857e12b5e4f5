"""Petastorm's buffers of tensors, for those who use them by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tfpetastorm.reader_impl.pytorch_shuffling_buffer import BatchedNoopShufflingBuffer, BatchedRandomShufflingBuffer


def through(buffer: Any, chunks: list[int]) -> list[list[int]]:
    found, start = [], 0
    for size in chunks:
        while not buffer.can_add():
            found.append(buffer.retrieve())
        numbers = np.arange(start, start + size)
        buffer.add_many([numbers, torch.as_tensor(-numbers)])
        start += size
    buffer.finish()
    while buffer.can_retrieve():
        found.append(buffer.retrieve())
    for first, second in found:
        torch.testing.assert_close(first, -second)
    return [first.tolist() for first, _ in found]


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_each_row_comes_once_in_an_order_that_the_seed_decides(batch_size: int) -> None:
    def order(seed: int | None) -> list[int]:
        batches = through(BatchedRandomShufflingBuffer(30, 10, batch_size=batch_size, seed=seed), [8] * 25)
        assert {len(batch) for batch in batches[:-1]} == {batch_size}
        return [row for batch in batches for row in batch]

    assert sorted(order(0)) == list(range(200))
    assert order(0) == order(0) != order(1)
    torch.manual_seed(1)
    first = order(None)
    torch.manual_seed(1)
    assert order(None) == first


def test_noop_keeps_the_order() -> None:
    assert through(BatchedNoopShufflingBuffer(4), [1, 0, 6, 3]) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_borders_of_the_buffer() -> None:
    buffer = BatchedRandomShufflingBuffer(4, 3, extra_capacity=2, batch_size=2)
    with pytest.raises(RuntimeError, match="exceed the 6"):
        buffer.add_many([range(7)])
    buffer.add_many([range(3)])
    assert not buffer.can_retrieve()
    with pytest.raises(RuntimeError, match="Too few"):
        buffer.retrieve()
    buffer.add_many([range(3)])
    assert buffer.can_retrieve()
    with pytest.raises(RuntimeError, match="full"):
        buffer.add_many([[1]])
    buffer.finish()
    with pytest.raises(RuntimeError, match="finish"):
        buffer.add_many([[1]])

"""Petastorm's buffers, for those who use them by themselves."""

from __future__ import annotations

import numpy as np
import pytest

from tfpetastorm.reader_impl.shuffling_buffer import NoopShufflingBuffer, RandomShufflingBuffer


def through(buffer: RandomShufflingBuffer | NoopShufflingBuffer, count: int) -> list[int]:
    found = []
    for start in range(0, count, 3):
        while not buffer.can_add():
            found.append(buffer.retrieve())
        buffer.add_many(range(start, min(start + 3, count)))
    buffer.finish()
    while buffer.can_retrieve():
        found.append(buffer.retrieve())
    return found


def test_a_seed_decides_the_order_and_each_item_comes_once() -> None:
    first = through(RandomShufflingBuffer(20, 10, seed=0), 200)
    assert sorted(first) == list(range(200))
    assert first == through(RandomShufflingBuffer(20, 10, seed=0), 200)
    assert first != through(RandomShufflingBuffer(20, 10, seed=1), 200)
    np.random.seed(3)  # noqa: NPY002
    drawn = through(RandomShufflingBuffer(20, 10), 200)
    np.random.seed(3)  # noqa: NPY002
    assert drawn == through(RandomShufflingBuffer(20, 10), 200)


def test_noop_keeps_the_order() -> None:
    assert through(NoopShufflingBuffer(), 50) == list(range(50))
    with pytest.raises(RuntimeError, match="empty"):
        NoopShufflingBuffer().retrieve()


def test_borders_of_the_buffer() -> None:
    buffer = RandomShufflingBuffer(5, 3, extra_capacity=2)
    buffer.add_many([1, 2])
    assert (buffer.can_add(), buffer.can_retrieve(), buffer.size) == (True, False, 2)
    with pytest.raises(RuntimeError, match="Too few"):
        buffer.retrieve()
    with pytest.raises(RuntimeError, match="exceed the 7"):
        buffer.add_many(range(6))
    buffer.add_many([3, 4, 5, 6, 7])
    assert not buffer.can_add()
    with pytest.raises(RuntimeError, match="full"):
        buffer.add_many([8])
    assert len({buffer.retrieve() for _ in range(5)}) == 5
    assert not buffer.can_retrieve()
    buffer.finish()
    assert not buffer.can_add()
    assert {buffer.retrieve(), buffer.retrieve()} <= set(range(1, 8))
    assert not buffer.can_retrieve()

"""Weighted choices in whole numbers: what they fall on, how often, and when a source is empty."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpetastorm.errors import OptionError
from tfpetastorm.plan.choice import choices, draws, length_until_empty, whole_weights
from tfpetastorm.plan.hashing import key64

KEY = key64("mix", 7)


def chosen(weights, count, key=KEY):
    return choices(key, np.arange(count, dtype=np.uint64), whole_weights(weights))


def test_choices_are_these_for_ever():
    """A new release must not change them: runs would not be repeatable."""
    assert chosen([5, 3, 2], 40).tolist() == [int(digit) for digit in "0210002000111110210200110002101011020110"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6).filter(any), st.integers(0, 2**63))
def test_shares_are_as_the_weights_within_chance(weights, seed):
    count = 20_000
    found = np.bincount(chosen(weights, count, key64("mix", seed)), minlength=len(weights))
    for weight, times in zip(weights, found, strict=True):
        share = weight / math.fsum(weights)
        # Six standard deviations, and a few for shares so small that they are rare.
        assert abs(times - share * count) <= 6 * math.sqrt(count * share * (1 - share)) + 6


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=8).filter(any))
def test_whole_weights_keep_zero_and_nothing_else_at_zero(weights):
    whole = whole_weights(weights)
    assert [bool(w) for w in whole] == [bool(w) for w in weights]
    assert abs(int(whole.sum()) - 2**31) <= len(weights) * 2


def test_successive_choices_are_independent():
    pairs = chosen([1, 1], 100_001)
    both = pairs[:-1] * 2 + pairs[1:]
    assert np.abs(np.bincount(both, minlength=4) - 25_000).max() < 6 * math.sqrt(100_000 * 3 / 16)


def test_draws_reach_both_ends():
    drawn = draws(KEY, np.arange(100_000, dtype=np.uint64))
    assert 0 <= drawn.min() < 2**18
    assert 2**31 - 2**18 < drawn.max() < 2**31


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), min_size=1, max_size=4).filter(
        lambda pairs: any(weight for _, weight in pairs)
    ),
    st.integers(0, 1000),
)
def test_the_length_is_that_of_a_plain_loop(pairs, seed):
    sizes, weights = [size for size, _ in pairs], whole_weights([weight for _, weight in pairs])
    key = key64("mix", seed)
    left, expected = list(sizes), 0
    for source in choices(key, np.arange(10_000, dtype=np.uint64), weights):
        if not left[source]:
            break
        left[source] -= 1
        expected += 1
    assert length_until_empty(key, weights, sizes) == expected


def test_a_length_beyond_the_first_chunk_and_beyond_all():
    weights = whole_weights([1, 1])
    picks = chosen([1, 1], 300_000)
    expected = int(np.flatnonzero(picks == 1)[100_000])
    assert length_until_empty(KEY, weights, [None, 100_000]) == expected > 1 << 16
    assert length_until_empty(KEY, weights, [None, 100_000], most=expected) is None
    assert length_until_empty(KEY, weights, [None, 100_000], most=expected + 1) == expected
    assert length_until_empty(KEY, weights, [None, None]) is None


@pytest.mark.parametrize("bad", [[-1, 2], [float("nan"), 1], [float("inf"), 1], [0, 0], ["a", 1], [None]])
def test_weights_that_cannot_work(bad):
    with pytest.raises(OptionError, match="weight"):
        whole_weights(bad)

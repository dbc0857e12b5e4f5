"""Laws of joining byte ranges."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tfpetastorm.stores.ranges import ByteRange, coalesced

SOME_RANGES = st.lists(
    st.tuples(st.integers(0, 1 << 26), st.integers(0, 1 << 24)).map(lambda pair: ByteRange(pair[0], sum(pair)))
)


def union(ranges: list[ByteRange]) -> list[ByteRange]:
    """The same bytes without overlaps, in order."""
    result: list[ByteRange] = []
    for one in sorted(one for one in ranges if one.size):
        if result and one.start <= result[-1].stop:
            result[-1] = ByteRange(result[-1].start, max(one.stop, result[-1].stop))
        else:
            result.append(one)
    return result


@given(SOME_RANGES)
def test_joined_ranges_hold_every_byte_in_order_and_little_else(ranges: list[ByteRange]) -> None:
    joined = coalesced(ranges)
    assert joined == sorted(joined)
    assert all(left.stop <= right.start for left, right in pairwise(joined))
    for one in ranges:
        assert not one.size or any(held.start <= one.start and one.stop <= held.stop for held in joined)
    wanted = sum(one.size for one in union(ranges))
    assert sum(one.size for one in joined) <= 1.1 * wanted


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=50))
def test_neighbours_are_one_request(sizes: list[int]) -> None:
    edges = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    assert coalesced([ByteRange(*pair) for pair in pairwise(edges)]) == [ByteRange(0, edges[-1])]


def test_small_gaps_are_joined_before_large_ones() -> None:
    chunks = [ByteRange(0, 1000), ByteRange(1150, 2000), ByteRange(2060, 3000), ByteRange(9000, 9500)]
    assert coalesced(chunks) == [ByteRange(0, 3000), ByteRange(9000, 9500)]


def test_large_chunks_are_fetched_side_by_side() -> None:
    size = 10 << 20
    chunks = [ByteRange(i * size, (i + 1) * size) for i in range(3)]
    assert coalesced(chunks) == chunks


def test_many_chunks_are_split_at_their_borders_only() -> None:
    size = 1 << 20
    chunks = [ByteRange(i * size, (i + 1) * size) for i in range(40)]
    joined = coalesced(chunks)
    assert joined[0] == ByteRange(0, 16 * size)
    assert [one.start % size for one in joined] == [0, 0, 0]

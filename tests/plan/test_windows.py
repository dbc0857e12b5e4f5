"""Which windows there are, against a plain loop over the rows."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plan.window_oracle import expected_starts
from tfpetastorm.errors import NullValueError, Place, UnsortedDataError
from tfpetastorm.plan.ngram import ResolvedWindows
from tfpetastorm.plan.window_finder import TaskRows, WindowFinder
from tfpetastorm.plan.windows import WindowIndex, merged, windows_of_stretches


@st.composite
def cases(draw):
    """(wanted, passes, values, times, follows, borders of tasks): time never goes back in a sequence, and no sequence
    returns, among the rows that pass."""
    rows = draw(st.integers(1, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    passes = random.integers(0, 10, rows) >= draw(st.sampled_from([0, 0, 1, 4]))
    sequence = draw(st.booleans())
    begins = random.integers(0, 10, rows) < (draw(st.sampled_from([0, 1, 3])) if sequence else 0)
    sequences = np.cumsum(begins)
    steps = random.choice([0, 0, 1, 1, 1, 2, 5], rows)
    times = []
    for i in range(rows):
        times.append(int(random.integers(0, 3)) if not i or begins[i] else min(times[-1] + int(steps[i]), 255))
    # Rows that do not pass may hold anything.
    times = np.where(passes, times, random.integers(0, 255, rows))
    sequences = np.where(passes, sequences, random.integers(0, 3, rows))
    values = [f"s{i}" for i in sequences]
    kind = draw(st.sampled_from([np.int64, np.uint64, np.uint8, np.float32, np.float64, "M8[ms]", "M8[D]"]))
    borders = sorted(draw(st.sets(st.integers(1, rows), max_size=8)) - {rows})
    pruned = random.integers(0, 5, len(borders)) == 0
    length = draw(st.integers(1, 6))
    overlap = draw(st.booleans())
    wanted = ResolvedWindows(
        length,
        draw(st.integers(1, 7)) if overlap else 1,
        overlap,
        draw(st.sampled_from([None, 0, 1, 2, 10, 2**70])),
        "t",
        "s" if sequence else None,
    )
    follows = [i > 0 for i in range(rows)]
    for border, gone in zip(borders, pruned, strict=True):
        follows[border] = not gone
    return wanted, passes, values, times.astype(kind), follows, borders


def tasks_of(wanted, passes, values, times, follows, borders, timed=True):
    for start, stop in zip([0, *borders], [*borders, len(passes)], strict=True):
        passing = start + np.flatnonzero(passes[start:stop])
        seen = [values[i] for i in passing]
        runs = [i for i in range(len(seen)) if not i or seen[i] != seen[i - 1]]
        yield TaskRows(
            start,
            stop - start,
            follows[start],
            None if len(passing) == stop - start else passing - start,
            times[passing] if timed else None,
            np.array(runs, np.int64) if wanted.sequence else None,
            tuple(seen[i] for i in runs) if wanted.sequence else (),
        )


def place(row, field):
    return Place("part.parquet", row // 10, row % 10, field)


def find(wanted, tasks):
    finder = WindowFinder(wanted, place)
    for task in tasks:
        finder.add(task)
    return finder.finish()


@given(cases())
def test_the_windows_are_those_of_a_plain_loop(case):
    wanted, passes, values, times, follows, borders = case
    expected = expected_starts(wanted, passes, values, [int(t) for t in times.astype(np.int64)], follows)
    index = find(wanted, tasks_of(wanted, passes, values, times, follows, borders))
    assert index.total == len(expected)
    assert index.length == wanted.length
    assert list(index.starts(np.arange(index.total))) == expected
    assert bool(index.reason) == (not expected)


@given(cases())
def test_the_borders_of_tasks_do_not_matter(case):
    wanted, passes, values, times, follows, borders = case
    every = list(range(1, len(passes)))
    some = find(wanted, tasks_of(wanted, passes, values, times, follows, borders))
    rows = find(wanted, tasks_of(wanted, passes, values, times, follows, every))
    assert np.array_equal(some.to_array(), rows.to_array())
    assert some.reason == rows.reason


@given(cases())
def test_counting_and_caching_an_index(case):
    wanted, passes, values, times, follows, borders = case
    index = find(wanted, tasks_of(wanted, passes, values, times, follows, borders))
    starts = index.starts(np.arange(index.total))
    rows = np.arange(-2, len(passes) + 3)
    assert np.array_equal(index.before(rows), np.searchsorted(starts, rows, "left"))
    again = WindowIndex.from_array(index.to_array())
    assert (again.stride, again.length, again.total) == (index.stride, index.length, index.total)
    assert np.array_equal(again.starts(np.arange(again.total)), starts)


@given(st.lists(st.integers(-3, 20), max_size=9))
def test_an_array_that_is_no_index_is_noticed(numbers):
    index = WindowIndex.from_array(np.array(numbers, np.int64))
    if index is not None:
        starts = index.starts(np.arange(index.total))
        assert starts.min(initial=0) >= 0
        assert np.all(np.diff(starts) > 0)
        assert np.array_equal(index.to_array(), numbers)


def test_a_million_stretches_take_no_loop():
    first = np.arange(1_000_000, dtype=np.int64) * 100
    index = windows_of_stretches(first, np.full(len(first), 90), 5, 1)
    assert index.total == 86_000_000
    assert len(index.first) == len(first)
    numbers = np.array([0, 85, 86, 85_999_999])
    assert list(index.starts(numbers)) == [0, 85, 100, 99_999_985]
    assert list(index.before(index.starts(numbers))) == list(numbers)
    joined = windows_of_stretches(first, np.full(len(first), 100), 100, 100)
    assert (len(joined.first), joined.total) == (1, 1_000_000)


def test_windows_that_share_no_timestamp_stay_few_segments():
    wanted = ResolvedWindows(5, 1, False, 1, "t")
    tasks = [TaskRows(i * 1000, 1000, i > 0, None, np.arange(i * 1000, i * 1000 + 1000)) for i in range(50)]
    index = find(wanted, tasks)
    assert (index.total, len(index.first), index.stride) == (10_000, 1, 5)


ROWS = ResolvedWindows(3, 1, True, None, "t", "s")


def test_time_that_goes_back_is_an_error_that_names_the_row():
    times = np.array([4, 5, 5, 7, 6, 8], "M8[s]")
    for border in range(6):
        borders = [border] if border else []
        tasks = tasks_of(ROWS, np.ones(6, bool), ["a"] * 6, times, [False] + [True] * 5, borders)
        message = (
            r"Time goes back within a sequence \(field 't', file part.parquet, row group 0, row 4\): expected at least "
            r"the 1970-01-01T00:00:07 of the row before, found 1970-01-01T00:00:06. Sort"
        )
        with pytest.raises(UnsortedDataError, match=message):
            find(ROWS, tasks)
    whole = ResolvedWindows(3, 1, True, None, "t")
    with pytest.raises(UnsortedDataError, match=r"Time goes back .*sequence_field="):
        find(whole, [TaskRows(0, 6, False, None, times)])
    # Another sequence has a time of its own, and rows that do not pass have none.
    assert find(ROWS, [TaskRows(0, 6, False, None, times, np.array([0, 4]), ("a", "b"))]).total == 2
    assert find(whole, [TaskRows(0, 6, False, np.array([0, 1, 2, 4, 5]), times[[0, 1, 2, 4, 5]])]).total == 1


@pytest.mark.parametrize("values", [["b", "a", "a", "c", "c", "a"], [2, 1, 1, 3, 3, 1]])
def test_a_sequence_that_returns_is_an_error_that_names_the_row(values):
    for borders in ([], [1], [5], [2, 4], [1, 2, 3, 4, 5]):
        times = np.arange(6)
        tasks = tasks_of(ROWS, np.ones(6, bool), values, times, [False] + [True] * 5, borders)
        with pytest.raises(UnsortedDataError, match=rf"sequence {values[1]!r}.*field 's', file part.*row 5\).*Store"):
            find(ROWS, tasks)
        rest = np.array([True] * 5 + [False])
        find(ROWS, tasks_of(ROWS, rest, values, times, [False] + [True] * 5, borders))


@pytest.mark.parametrize("times", [np.array([0, np.nan, 2]), np.array([0, "NaT", 2], "M8[s]")])
def test_a_timestamp_that_is_not_a_number_is_an_error(times):
    with pytest.raises(NullValueError, match=r"field 't', file part.parquet, row group 0, row 1"):
        find(ROWS, [TaskRows(0, 3, False, None, times, np.array([0]), ("a",))])


@pytest.mark.parametrize(
    "times",
    [
        np.array([-(2**63), 2**63 - 1]),
        np.array([0, 2**64 - 1], np.uint64),
        np.array([-math.inf, 0.0]),
        np.array([-1e308, 1e308]),
    ],
)
def test_gaps_beyond_the_range_of_the_type_are_long(times):
    wanted = ResolvedWindows(2, 1, True, 1000 if times.dtype.kind != "f" else 1000.0, "t")
    assert find(wanted, [TaskRows(0, 2, False, None, times)]).total == 0
    assert find(wanted, [TaskRows(0, 2, False, None, times[[1, 1]])]).total == 1


@pytest.mark.parametrize(
    ("wanted", "passing", "times", "reason"),
    [
        (ROWS, [], [], "where= and split= leave none of 4 rows"),
        (ROWS, [0, 1, 3], [1, 2, 4], "3 consecutive rows of one 's' that all pass where= and split=, and.* has 2"),
        (ROWS, None, [1, 2, 3, 4], "3 consecutive rows of one 's', and the longest run has 2"),
        (ResolvedWindows(5), None, None, "5 consecutive rows, and the longest run has 4"),
        (ResolvedWindows(2, 1, True, 9, "t"), None, [10, 20, 31, 51], "threshold is 9.*smallest gap of 't' is 10"),
        (
            ResolvedWindows(2, 1, True, 9, "t"),
            None,
            np.array([10, 20, 31, 51], "M8[us]"),
            "threshold is 9 us, and the smallest gap of 't' is 10 us",
        ),
        (
            ResolvedWindows(4, 1, True, 10, "t"),
            None,
            [10, 20, 30, 51],
            "4 consecutive rows without a gap of 't' above 10, and the longest stretch has 3",
        ),
    ],
)
def test_an_empty_index_says_why(wanted, passing, times, reason):
    rows = None if passing is None else np.array(passing, np.int64)
    times = None if times is None else np.asarray(times)
    runs = ()
    if wanted.sequence:
        runs = (np.array([0, 2]), ("a", "b")) if passing != [] else (np.zeros(0, np.int64), ())
    index = find(wanted, [TaskRows(0, 4, False, rows, times, *runs)])
    assert index.total == 0
    assert re.search(reason, index.reason), index.reason


def test_segments_that_go_on_are_made_one():
    index = merged(np.array([0, 4, 9, 11]), np.array([2, 1, 1, 3]), 2, 3)
    assert list(index.first) == [0, 9]
    assert list(index.count) == [3, 4]
    assert list(index.starts(np.arange(7))) == [0, 2, 4, 9, 11, 13, 15]

"""Laws of an epoch's order: every sample once, in equal steps, whatever the layout, the shards and the way so far."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpetastorm.errors import OptionError, PositionError
from tfpetastorm.plan.epochs import EpochPlan, Key
from tfpetastorm.plan.layout import Samples
from tfpetastorm.plan.order import Shuffle, block_permutation
from tfpetastorm.plan.position import Position, Segment
from tfpetastorm.plan.shards import EVEN, Division
from tfpetastorm.plan.stretch import Stretch
from tfpetastorm.plan.tasks import slice_row_groups

row_groups = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)
blocks = st.sampled_from([0, 1, 3, 10, 64, 10_000])


def samples_of(rows, slice_rows=0):
    rows = np.array(rows, np.int64)
    tasks = slice_row_groups(rows, rows >= 0, np.ones(len(rows)), slice_rows=slice_rows)
    return Samples(tasks, tasks.stop - tasks.start)


def plan_of(rows, block=0, shuffled=True, **options):
    shuffle = Shuffle(row_groups=shuffled, rows=bool(block))
    return EpochPlan(samples_of(rows, -(-block // 2)), shuffle, options.pop("seed", 0), block, **options)


def read_by(plan, epoch):
    """The stored numbers of what the elements of an epoch give, by the rows that their pieces read."""
    found = []
    samples = plan.samples
    for number in range(len(plan.layout(epoch))):
        element = plan.element(epoch, number)
        rows = []
        for piece in element.pieces:
            base = samples.first_row[piece.task] - samples.tasks.start[piece.task]
            stored = base + np.arange(piece.read.start, piece.read.stop)
            rows.append(stored if piece.read.take is None else stored[piece.read.take])
            assert len(rows[-1]) == piece.rows
        rows = np.concatenate(rows)
        assert len(np.unique(rows)) == len(rows), "a row is read twice for one element"
        found.append(rows if element.index is None else rows[element.index])
        assert len(found[-1]) == element.samples
    return np.concatenate(found).tolist() if found else []


@given(row_groups, blocks, st.booleans(), st.integers(0, 5), st.integers(0, 9))
def test_every_sample_comes_once_and_what_is_read_is_what_the_order_says(rows, block, shuffled, seed, epoch):
    plan = plan_of(rows, block, shuffled, seed=seed)
    numbers = read_by(plan, epoch)
    assert sorted(numbers) == list(range(sum(rows)))
    assert numbers == plan.stored_numbers(epoch).tolist()
    if not shuffled and not block:
        assert numbers == list(range(sum(rows)))


@given(row_groups, blocks, st.integers(1, 8), st.integers(1, 60), st.sampled_from(EVEN), st.booleans(), st.booleans())
def test_shards_have_equal_steps_and_share_nothing(rows, block, shards, batch, even, full, shuffled):
    batch = max(batch, shards)
    division = Division(shards, batch, even, full)
    total = sum(rows)
    plan = plan_of(rows, block, shuffled, division=division)
    steps = plan.steps(0)
    found = []
    for shard in range(shards):
        mine = plan.for_shard(shard)
        numbers = read_by(mine, 0)
        assert numbers == mine.stored_numbers(0).tolist()
        assert -(-len(numbers) // division.local(shard)) == steps
        if full:
            assert len(numbers) == steps * division.local(shard)
        take = division.take(Stretch.of([(0, total)]), shard)
        assert take.total == len(numbers)
        if even == "pad" and len(take.copies):
            assert take.padding
            numbers = numbers[: -len(take.copies)]
        found.extend(numbers)
    if even == "drop":
        assert len(set(found)) == len(found)
        assert total - len(found) < batch
    elif even == "pad":
        assert sorted(found) == list(range(total))
    else:
        assert set(found) == set(range(total))
        assert len(found) - total < batch


@given(row_groups, blocks, st.data())
def test_going_on_under_other_numbers_of_shards_repeats_nothing_and_leaves_little_out(rows, block, data):
    total = sum(rows)
    consumed, seen = (), []
    batches = []
    for _ in range(data.draw(st.integers(1, 3))):
        shards = data.draw(st.integers(1, 5))
        division = Division(shards, data.draw(st.integers(shards, 24)))
        batches.append(division.batch)
        plan = plan_of(rows, block, division=division)
        if consumed and consumed[-1].division == division:
            continue
        here = plan.from_position(0, consumed)
        if here.first_epoch or not here.steps(0):
            # Too little is left for a step of this division.
            assert total - len(seen) < max(batches)
            break
        steps = data.draw(st.integers(0, here.steps(0)))
        for shard in range(shards):
            numbers = here.for_shard(shard).stored_numbers(0)
            seen.extend(numbers[: steps * division.local(shard)].tolist())
        epoch, consumed = here.position_after(steps)
        if epoch:
            assert not consumed
            assert total - len(seen) < max(batches)
            break
    assert len(set(seen)) == len(seen)


@given(row_groups, blocks, st.integers(1, 4), st.integers(4, 20), st.data())
def test_a_position_goes_on_exactly_where_it_was_taken(rows, block, shards, batch, data):
    division = Division(shards, batch, data.draw(st.sampled_from(EVEN)))
    plan = plan_of(rows, block, division=division)
    if not plan.steps(0):
        return
    shard = data.draw(st.integers(0, shards - 1))
    steps = data.draw(st.integers(0, 3 * plan.steps(0)))
    epoch, consumed = plan.position_after(steps)
    assert epoch == steps // plan.steps(0)
    on = plan.from_position(epoch, consumed).for_shard(shard)
    made = steps % plan.steps(0)
    assert on.steps(epoch) == plan.steps(0) - made
    whole = plan.for_shard(shard).stored_numbers(epoch).tolist()
    assert on.stored_numbers(epoch).tolist() == whole[made * division.local(shard) :]
    assert on.stored_numbers(epoch + 1).tolist() == plan.for_shard(shard).stored_numbers(epoch + 1).tolist()
    # Taken again further on, it is the position that would have been taken without the stop.
    more = data.draw(st.integers(0, plan.steps(0)))
    assert on.position_after(more) == plan.position_after(steps + more)


def test_seven_shards_on_three_row_groups():
    plan = plan_of([10, 11, 12], division=Division(7, 7))
    parts = [plan.for_shard(shard).stored_numbers(0).tolist() for shard in range(7)]
    assert [len(part) for part in parts] == [4] * 7
    assert len({number for part in parts for number in part}) == 28


@pytest.mark.parametrize("rows", [[100], [50, 50]])
def test_what_belongs_to_a_shard_changes_with_seed_and_epoch(rows):
    members = {
        (seed, epoch): frozenset(plan_of(rows, 20, seed=seed, division=Division(2, 2)).stored_numbers(epoch).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(members.values())) == 9


def test_only_blocks_at_borders_are_read_by_two_shards():
    rows = [10] * 20
    plan = plan_of(rows, 40, division=Division(3, 6))
    readers = {}
    for shard in range(3):
        mine = plan.for_shard(shard)
        for number in range(len(mine.layout(0))):
            for piece in mine.element(0, number).pieces:
                readers.setdefault(piece.read.row_group, set()).add(shard)
    assert sorted(readers) == list(range(20))
    assert sum(len(shards) - 1 for shards in readers.values()) <= 2 * 4, (
        "two borders, of one block of 4 row groups each"
    )


@given(st.integers(1, 500), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_a_block_is_permuted(size, seed, epoch, block):
    permutation = block_permutation(seed, epoch, block, size)
    assert permutation.dtype == np.int32
    assert sorted(permutation.tolist()) == list(range(size))


def test_the_permutation_is_the_same_in_every_release():
    """A golden value: if it changes, every seed that anyone noted down means something else."""
    assert block_permutation(7, 0, 0, 8).tolist() == GOLDEN_BLOCK


GOLDEN_BLOCK = [6, 5, 1, 7, 2, 3, 4, 0]


def test_neighbours_in_a_block_end_up_as_far_apart_as_chance_has_it():
    size = 10_000
    place = np.argsort(block_permutation(1, 2, 3, size))
    # The mean distance of two random places is a third of the size; its spread over 10,000 pairs about 24.
    assert abs(np.abs(np.diff(place)).mean() - size / 3) < 150
    assert abs(np.corrcoef(np.arange(size), place)[0, 1]) < 0.05


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 20)), max_size=6), st.data())
def test_stretches_are_lists_of_positions(spans, data):
    positions, intervals, start = [], [], 0
    for gap, length in spans:
        intervals.append((start + gap, start + gap + length))
        positions += range(start + gap, start + gap + length)
        start += gap + length
    stretch = Stretch.of(intervals)
    assert stretch.total == len(positions)
    lo = data.draw(st.integers(0, len(positions)))
    hi = data.draw(st.integers(lo, len(positions)))
    part = stretch.part(lo, hi)
    assert part.positions(np.arange(hi - lo)).tolist() == positions[lo:hi]
    rest = stretch.without([(lo, hi)])
    assert rest.positions(np.arange(rest.total)).tolist() == positions[:lo] + positions[hi:]


@given(st.integers(1, 5), st.one_of(st.none(), st.integers(1, 4)), st.integers(0, 3), st.integers(0, 3))
def test_the_stream_of_keys_is_each_pass_in_turn(n, epochs, first, number):
    plan = plan_of([2] * n, epochs=epochs, first_epoch=first)
    start = plan.pass_start(number)
    key, keys = Key(start, 0), []
    while key is not None and len(keys) < 50:
        keys.append((key.epoch, key.element, key.piece))
        key = plan.next_key(key)
    expected = [(start + e, p, 0) for e in range(epochs or 50) for p in range(n)][:50]
    assert keys == expected


def test_a_position_survives_json_and_names_what_changed():
    position = Position("abc", {"fields": ["x"], "where": None}, 3, 4, (Segment(Division(4, 64, "pad", True), 17),))
    assert Position.from_json(position.to_json()) == position
    assert position.steps == 17
    position.check(position)
    other = dataclasses.replace(position, options={"fields": ["x", "y"], "where": None}, dataset="abd", seed=4)
    with pytest.raises(PositionError, match=r"files.*fields \(was \['x'\], is \['x', 'y'\]\).*seed \(was 3, is 4\)"):
        position.check(other)
    for text in ["", "[]", "{}", position.to_json().replace("position.v1", "position.v9")]:
        with pytest.raises(PositionError):
            Position.from_json(text)


def test_divisions_that_can_not_work():
    with pytest.raises(OptionError, match="at least 4"):
        Division(4, 3)
    with pytest.raises(OptionError, match="drop, pad, repeat"):
        Division(2, 4, "even")


@pytest.mark.parametrize(
    "arguments",
    [{"block_rows": 0}, {"block_bytes": -1}, {"block_rows": 3, "block_bytes": 3}, {"rows": False, "block_rows": 3}],
)
def test_shuffles_that_can_not_work(arguments):
    with pytest.raises(OptionError):
        Shuffle(**arguments)

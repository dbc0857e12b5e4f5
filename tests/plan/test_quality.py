"""How good a shuffle is: known answers, laws, and the whole against a plain loop."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpetastorm.plan.epochs import EpochPlan
from tfpetastorm.plan.layout import Samples
from tfpetastorm.plan.order import Shuffle
from tfpetastorm.plan.quality import density, measure, perfect, sampled_positions
from tfpetastorm.plan.tasks import slice_row_groups


def of(order, batch, groups):
    order = np.asarray(order, np.int64)
    return measure(np.arange(len(order)), order, len(order), batch, np.cumsum(groups))


def plan_of(groups, block, seed=0, shuffle=None):
    groups = np.asarray(groups, np.int64)
    tasks = slice_row_groups(groups, groups >= 0, np.ones(len(groups)), slice_rows=-(-block // 2))
    samples = Samples(tasks, tasks.stop - tasks.start)
    return EpochPlan(samples, shuffle or Shuffle(rows=bool(block)), seed, block)


layouts = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)


# ---------------------------------------------------------------- known answers


@pytest.mark.parametrize("order", [range(1000), range(999, -1, -1)], ids=["stored", "reversed"])
def test_no_shuffle_at_all(order):
    found = of(order, 10, [100] * 10)
    assert found.correlation == pytest.approx(1)
    assert found.together == pytest.approx(900 / 999), "nine of the ten neighbours within each batch"
    assert found.row_groups == 1


def test_a_stride_keeps_neighbours_apart():
    """Batch k holds k, k + 100, k + 200, …: one row of each row group, and no two neighbours."""
    found = of(np.arange(1000).reshape(10, 100).T.reshape(-1), 10, [100] * 10)
    assert found.together == 0
    assert found.row_groups == 10
    assert found.correlation == pytest.approx(0.1, abs=0.01)


def test_a_batch_that_ends_does_not_neighbour_the_next():
    """Stored 0 opens a batch just after one that ends with the last number."""
    assert of([1, 3, 0, 2], 2, [4]).together == 0
    assert of([1, 2, 0, 3], 2, [4]).together == pytest.approx(1 / 3)


def test_a_random_order_is_near_perfect():
    rows, batch, groups = 100_000, 500, [2000] * 50
    found = of(np.random.default_rng(0).permutation(rows), batch, groups)
    ideal = perfect(rows, batch, np.cumsum(groups))
    assert found.correlation < 5 / math.sqrt(rows)
    assert found.together == pytest.approx(ideal.together, rel=0.25)
    assert ideal.together == pytest.approx(499 / 99_999)
    assert found.row_groups == pytest.approx(ideal.row_groups, rel=0.01)


@pytest.mark.parametrize(("groups", "batch"), [([3, 2], 2), ([1, 4], 3), ([2, 2, 2], 2), ([5], 9), ([1], 1)])
def test_perfect_is_the_mean_over_all_orders(groups, batch):
    rows = sum(groups)
    every = [of(order, batch, groups) for order in itertools.permutations(range(rows))]
    ideal = perfect(rows, batch, np.cumsum(groups))
    assert np.mean([found.together for found in every]) == pytest.approx(ideal.together)
    assert np.mean([found.row_groups for found in every]) == pytest.approx(ideal.row_groups)


def test_larger_blocks_are_better():
    groups = [500] * 40
    found = []
    for block in (0, 250, 1000, 4000, 20_000):
        plan = plan_of(groups, block, seed=3)
        found.append(of(plan.stored_numbers(0), 100, groups))
    together = [quality.together for quality in found]
    assert together == sorted(together, reverse=True)
    ideal = perfect(20_000, 100, np.cumsum(groups))
    assert together[-1] == pytest.approx(ideal.together, rel=0.3)
    assert together[0] > 100 * ideal.together
    met = [quality.row_groups for quality in found]
    assert met == sorted(met)
    assert met[0] == 1


# ---------------------------------------------------------------- laws


@given(layouts, st.integers(1, 30), st.randoms(use_true_random=False))
def test_against_a_plain_loop(groups, batch, random):
    rows = sum(groups)
    order = list(range(rows))
    random.shuffle(order)
    group_of = np.repeat(np.arange(len(groups)), groups)
    batches = [order[i : i + batch] for i in range(0, rows, batch)]
    batch_of = {row: number for number, held in enumerate(batches) for row in held}
    pairs = sum(batch_of[i] == batch_of[i + 1] for i in range(rows - 1))
    found = of(order, batch, groups)
    assert found.together == pytest.approx(pairs / max(1, rows - 1))
    assert found.row_groups == pytest.approx(np.mean([len({group_of[row] for row in held}) for held in batches]))
    if rows > 1:
        ranks = np.corrcoef(np.arange(rows), order)[0, 1]
        assert found.correlation == pytest.approx(abs(ranks), abs=1e-9)


@given(layouts, st.sampled_from([0, 1, 7, 30, 1000]), st.integers(0, 3), st.integers(0, 99))
def test_any_positions_of_a_plan(groups, block, epoch, seed):
    plan = plan_of(groups, block, seed)
    whole = plan.stored_numbers(epoch)
    every = np.arange(sum(groups))
    assert (plan.stream(epoch).stored_at(every) == whole).all()
    assert (plan.stream(epoch).stored_at(every[::3]) == whole[::3]).all()
    assert not len(plan.stream(epoch).stored_at(every[:0]))


@given(st.integers(1, 100_000), st.integers(1, 500), st.integers(1, 20_000), st.integers(0, 9))
def test_samples_are_whole_batches_spread_over_the_order(total, batch, most, seed):
    found = sampled_positions(total, batch, most, seed)
    if total <= most or total < batch:
        assert (found == np.arange(total)).all()
        return
    assert len(found) <= max(most, batch)
    batches = found.reshape(-1, batch)
    assert (batches == batches[:, :1] // batch * batch + np.arange(batch)).all()
    assert 0 <= found[0] <= found[-1] < total
    # No stretch without a sample is longer than two of the parts that the order is cut into.
    parts = min(64, total // batch, max(1, most // batch))
    gaps = np.diff(np.concatenate([[0], found, [total]]))
    assert gaps.max() <= 2 * (total / parts + batch)


def test_a_sample_tells_nearly_what_the_whole_does():
    groups = [5000] * 100
    plan = plan_of(groups, 20_000, seed=1)
    whole = of(plan.stored_numbers(0), 1000, groups)
    positions = sampled_positions(500_000, 1000, 128_000, 0)
    assert len(positions) == 128_000
    part = measure(positions, plan.stream(0).stored_at(positions), 500_000, 1000, np.cumsum(groups))
    assert part.together == pytest.approx(whole.together, rel=0.1)
    assert part.row_groups == pytest.approx(whole.row_groups, rel=0.1)
    assert part.correlation == pytest.approx(whole.correlation, abs=0.05)


@given(layouts, st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_density_counts_every_row(groups, bins):
    total = sum(groups)
    order = plan_of(groups, 16).stored_numbers(0)
    found = density(np.arange(total), order, total, bins)
    assert found.shape == bins
    columns = np.bincount(np.arange(total) * bins[0] // total, minlength=bins[0])
    assert np.allclose(found.sum(axis=1), np.where(columns, bins[1], 0))
    same = density(np.arange(total), np.arange(total), total, (bins[0], bins[0]))
    assert np.count_nonzero(same - np.diag(np.diag(same))) == 0

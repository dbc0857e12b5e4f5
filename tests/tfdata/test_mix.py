"""`mix`: several datasets as one, by weight."""

from __future__ import annotations

import gc
import itertools
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfpetastorm as tps
from tests.tfdata.new_process import goes_on_exactly
from tfpetastorm.plan.choice import choices, length_until_empty, whole_weights
from tfpetastorm.plan.hashing import key64
from tfpetastorm.tfdata.passes import pass_tokens

#: Elements of source i are i * STRIDE, i * STRIDE + 1, …
STRIDE = 10_000


def counting(i, size):
    return tf.data.Dataset.range(i * STRIDE, i * STRIDE + size)


def begin(mixed, count):
    """The first elements of a pass."""
    return [int(value) for value in itertools.islice(mixed, count)]


def hiding(dataset):
    """The same elements, of unknown cardinality."""
    return dataset.filter(lambda _: True)


def taken(dataset, count=None):
    return [int(value) for value in (dataset if count is None else dataset.take(count))]


def sources_of(values):
    return [value // STRIDE for value in values]


def tokens(count):
    with tf.device("CPU:0"):
        return [np.int64(token).view(np.uint64) for token in pass_tokens().repeat(count).as_numpy_iterator()]


# ---------------------------------------------------------------- which dataset comes next


def test_the_choices_of_a_seed_are_these_for_ever():
    mixed = tps.mix([counting(i, 1000) for i in range(3)], [5, 3, 2], seed=7, stop="never")
    first, second = (sources_of(begin(mixed, 40)) for _ in range(2))
    assert "".join(map(str, first)) == "0100100101000100001011012010221020212222"
    assert "".join(map(str, second)) == "0022010221200011000111222102112011000212"


@pytest.mark.parametrize("stop", ["first", "last", "never"])
def test_the_graph_chooses_as_numpy_does(stop):
    sizes, weights = [4000, 5000, 6000], [1, 2, 0.5]
    mixed = tps.mix([counting(i, size) for i, size in enumerate(sizes)], weights, seed=3, stop=stop)
    key, whole = key64("mix", 3), whole_weights(weights)
    for token in tokens(3):
        found = sources_of(begin(mixed, 500))
        if stop == "first":
            length = length_until_empty(key, whole, sizes)
            from_ = int(choices_offset(key ^ token)) % length
            expected = choices(key, (np.arange(500) + from_) % length, whole)
        else:
            expected = choices(key ^ token, np.arange(500), whole)
        assert found == expected.tolist()


def choices_offset(key):
    from tfpetastorm.plan.choice import draws

    return draws(key, np.zeros([], np.uint64))


def test_shares_are_as_the_weights_within_chance():
    mixed = tps.mix([counting(i, 100) for i in range(3)], [1, 2, 5], seed=0, stop="never")
    found = np.bincount(sources_of(taken(mixed, 8000)), minlength=3)
    assert np.abs(found - [1000, 2000, 5000]).max() < 6 * np.sqrt(8000 / 4)


def test_nothing_but_the_seed_decides():
    def run(seed):
        return taken(tps.mix([counting(0, 300), counting(1, 300)], seed=seed))

    expected = run(5)
    tf.random.set_seed(1)
    assert run(5) == expected
    keras.utils.set_random_seed(2)
    assert run(5) == expected
    assert run(6) != expected
    assert run(0) == run(0)
    assert run(None) != run(None)


def test_equal_seeds_of_any_type_and_weights_of_any_sum():
    def run(weights, seed):
        return taken(tps.mix([counting(0, 300), counting(1, 300)], weights, seed=seed))

    assert run([1, 3], 5) == run(np.array([0.25, 0.75]), np.int32(5)) == run((10, 30), np.uint8(5))
    assert run(None, 5) == run([7, 7], 5)


def test_each_pass_chooses_otherwise_and_is_as_long():
    mixed = tps.mix([counting(0, 100), counting(1, 100)], seed=1)
    passes = [taken(mixed) for _ in range(4)]
    assert len({tuple(values) for values in passes}) == 4
    # Each source gives as many elements in every pass, and one gives all that it has.
    [counts] = {tuple(np.bincount(sources_of(values))) for values in passes}
    assert max(counts) == 100
    assert {len(values) for values in passes} == {int(mixed.cardinality())}
    assert taken(mixed.repeat(3)) != taken(mixed) * 3


def test_a_dataset_goes_on_with_its_passes(plain):
    options = {"fields": ["id"], "batch_size": 40, "shuffle": True, "seed": 4}
    mixed = tps.mix([tps.make_dataset(plain, **options), tps.make_dataset(plain, **options)], seed=2, stop="never")
    alone = tps.make_dataset(plain, **options)
    rows = [batch["id"].numpy().tolist() for _ in range(3) for batch in alone]
    assert rows[:6] != rows[6:12]
    found = [batch["id"].numpy().tolist() for batch in mixed.take(24)]
    # Two equal datasets, merged: every batch of the first passes is there, in the order of the passes.
    for batch in rows[:6]:
        assert found.count(batch) == 2
    positions = [found.index(batch) for batch in rows[:9]]
    assert positions == sorted(positions)


# ---------------------------------------------------------------- when it stops


@st.composite
def mixes(draw):
    count = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(0, 30), min_size=count, max_size=count))
    weights = draw(st.lists(st.sampled_from([0, 0.01, 1, 2, 7.5]), min_size=count, max_size=count).filter(any))
    hidden = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return sizes, weights, hidden, draw(st.integers(0, 2**64))


def made(drawn, stop):
    sizes, weights, hidden, seed = drawn
    datasets = [counting(i, size) for i, size in enumerate(sizes)]
    datasets = [hiding(d) if h else d for d, h in zip(datasets, hidden, strict=True)]
    return tps.mix(datasets, weights, seed=seed, stop=stop)


def in_order(values):
    """Each source's elements, which have to be its first ones, in order."""
    counts = {}
    for value in values:
        source, number = divmod(value, STRIDE)
        assert number == counts.get(source, 0)
        counts[source] = number + 1
    return counts


@settings(max_examples=12)
@given(mixes())
def test_last_gives_every_element_once(drawn):
    sizes, weights, hidden, _ = drawn
    mixed = made(drawn, "last")
    wanted = {i: size for i, (size, weight) in enumerate(zip(sizes, weights, strict=True)) if weight and size}
    for _ in range(2):
        assert in_order(taken(mixed)) == wanted
    known = not any(h for h, weight in zip(hidden, weights, strict=True) if weight)
    assert int(mixed.cardinality()) == (sum(wanted.values()) if known else tf.data.UNKNOWN_CARDINALITY)


@settings(max_examples=12)
@given(mixes())
def test_first_ends_when_a_choice_falls_on_an_exhausted_one(drawn):
    sizes, weights, hidden, seed = drawn
    mixed = made(drawn, "first")
    values = taken(mixed)
    counts = in_order(values)
    assert any(counts.get(i, 0) == size for i, size in enumerate(sizes) if weights[i])
    assert not [i for i in counts if not weights[i]]
    if any(h for h, weight in zip(hidden, weights, strict=True) if weight):
        # Unknown sizes: this pass' own choices, up to the first on one without elements.
        assert int(mixed.cardinality()) == tf.data.UNKNOWN_CARDINALITY
        key = key64("mix", seed) ^ tokens(1)[0]
        assert sources_of(values) == choices(key, np.arange(len(values)), whole_weights(weights)).tolist()
        [then] = choices(key, np.array([len(values)]), whole_weights(weights))
        assert counts.get(int(then), 0) == sizes[then]
    else:
        assert int(mixed.cardinality()) == len(values) == len(taken(mixed))


@settings(max_examples=8)
@given(mixes().filter(lambda drawn: all(drawn[0])))
def test_never_repeats_each_for_ever(drawn):
    sizes, weights, *_ = drawn
    mixed = made(drawn, "never")
    values = taken(mixed, 200)
    assert len(values) == 200
    assert int(mixed.cardinality()) == tf.data.INFINITE_CARDINALITY
    for i, size in enumerate(sizes):
        mine = [value - i * STRIDE for value in values if value // STRIDE == i]
        assert mine == [k % size for k in range(len(mine))]
        assert bool(weights[i]) or not mine


def test_last_keeps_the_shares_of_those_left():
    """After the first is exhausted, the others come one to three, at whatever weight it had."""
    mixed = tps.mix([counting(0, 50), counting(1, 3000), counting(2, 3000)], [1e6, 1, 3], seed=3, stop="last")
    values = sources_of(taken(mixed, 2050))
    assert values.count(0) == 50
    assert abs(values.count(2) - 1500) < 6 * np.sqrt(2000 * 3 / 16)


def test_exhausted_datasets_cost_no_time():
    """Choices would fall on the first one a million times before they fell on the second once."""
    mixed = tps.mix([counting(0, 10), counting(1, 5000)], [1e6, 1], seed=3, stop="last")
    assert len(taken(mixed)) == 5010


def test_endless_datasets():
    endless, ten = counting(0, 5).repeat(), counting(1, 10)
    first = tps.mix([endless, ten], seed=1)
    values = sources_of(taken(first))
    assert values.count(1) == 10
    assert int(first.cardinality()) == len(values)
    assert int(tps.mix([endless, ten], seed=1, stop="last").cardinality()) == tf.data.INFINITE_CARDINALITY
    assert int(tps.mix([endless, endless], seed=1).cardinality()) == tf.data.INFINITE_CARDINALITY


# ---------------------------------------------------------------- elements


def test_batches_of_several_datasets_for_keras(plain):
    options = {"fields": ["speed", "id"], "label": "id"}
    parts = [
        tps.make_dataset(plain, batch_size=32, where=[("id", "<", 100)], **options),
        tps.make_dataset(plain, batch_size=8, where=[("id", ">=", 100)], **options),
    ]
    mixed = tps.mix(parts, [1, 3], seed=0, stop="last")
    ids = [label.numpy() for _, label in mixed]
    assert sorted(np.concatenate(ids)) == list(range(240))
    assert {len(batch) for batch in ids if batch[0] >= 100} == {8, 4}
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(
        mixed.map(lambda features, label: (features["speed"][:, None], label)), epochs=2, verbose=0, shuffle=False
    )
    assert len(history.history["loss"]) == 2


def test_rows_ragged_fields_and_strings(plain):
    options = {"fields": ["id", "name", "tags"]}
    batches = tps.mix([tps.make_dataset(plain, batch_size=7, **options)] * 2, seed=1, stop="last")
    assert sum(int(batch["tags"].nrows()) for batch in batches) == 480
    rows = tps.mix([tps.make_dataset(plain, **options)] * 2, seed=1).take(50)
    assert all(row["name"] == f"row {row['id']}".encode() for row in rows.as_numpy_iterator())


# ---------------------------------------------------------------- a mix of ours


def test_steps_stats_and_close(plain):
    others = set(threading.enumerate())  # the pools of other tests may not be idle for long enough
    options = {"fields": ["id"], "batch_size": 16}
    parts = [tps.make_dataset(plain, **options), tps.make_dataset(plain, where=[("id", "<", 100)], **options)]
    mixed = tps.mix([*parts, counting(0, 30).batch(10).map(lambda i: {"id": i})], seed=0, stop="last")
    assert tps.steps(mixed) == 15 + 7 + 3 == len(list(mixed))
    assert tps.stats(mixed).counts.rows == 340 == sum(tps.stats(part).counts.rows for part in parts)
    assert tps.stats(mixed).pool.tasks == sum(tps.stats(part).pool.tasks for part in parts) > 0
    tps.close(mixed)
    assert not [t for t in threading.enumerate() if t not in others and t.name.startswith("tfpetastorm")]
    assert tps.steps(tps.mix(parts, seed=0, stop="never")) is None
    nested = tps.mix([mixed, *parts[:1]], seed=1, stop="last")
    assert tps.steps(nested) == 40 == len(list(nested))
    with pytest.raises(ValueError, match="mix has no position"):
        tps.position(mixed, 1)
    with pytest.raises(ValueError, match="no dataset of make_dataset or mix"):
        tps.steps(mixed.map(lambda x: x))


@pytest.mark.parametrize("stop", ["first", "last"])
def test_shards_choose_alike_and_hide_their_size(plain, stop):
    """Shard for shard, the choices of a pass are the same, and so is the number of steps."""

    def shard(i):
        options = {"fields": ["id"], "shard": (i, 3), "even": "drop", "batch_size": 12, "shuffle": True}
        few = tps.make_dataset(plain, where=[("id", "<", 60)], seed=1, **options)
        many = tps.make_dataset(plain, where=[("id", ">=", 60)], seed=2, **options)
        return tps.mix([few, many], [1, 2], seed=5, stop=stop)

    shards = [shard(i) for i in range(3)]
    for _ in range(2):
        passes = [[int(batch["id"][0]) < 60 for batch in mixed] for mixed in shards]
        assert passes[0] == passes[1] == passes[2]
        assert {len(values) for values in passes} == {tps.steps(mixed) for mixed in shards}
    assert {int(mixed.cardinality()) for mixed in shards} == {tf.data.UNKNOWN_CARDINALITY}
    policies = {mixed.options().experimental_distribute.auto_shard_policy for mixed in shards}
    assert policies == {tf.data.experimental.AutoShardPolicy.OFF}


def test_a_mix_keeps_its_datasets_alive(plain):
    def made():
        return tps.mix([tps.make_dataset(plain, fields=["id"], batch_size=16) for _ in range(2)], seed=0, stop="last")

    mixed = made().prefetch(1)
    gc.collect()
    assert sum(len(batch["id"]) for batch in mixed) == 480


# ---------------------------------------------------------------- checkpoints

MIXED = """
options = dict(fields=["id"], batch_size=16, shuffle=True)
parts = [tps.make_dataset(url, seed=1, **options), tps.make_dataset(url, seed=2, where=[("id", "<", 80)], **options),
         tf.data.Dataset.range(96).batch(8).map(lambda i: {"id": -i})]
dataset = tps.mix(parts, [4, 1, 1], seed=5, stop=stop).repeat()
"""


# Of "last" the passes are 32 batches long: 32 lies just between two, 28 where only some datasets have elements left.
@pytest.mark.parametrize(("stop", "steps"), [("first", [7, 30]), ("last", [28, 32]), ("never", [45])])
@pytest.mark.slow
def test_a_new_process_goes_on_exactly(plain, tmp_path, stop, steps):
    assert goes_on_exactly(MIXED, {"url": str(plain), "stop": stop}, 80, steps, tmp_path)


@pytest.mark.parametrize("hidden", [0, 1, 2])
@pytest.mark.parametrize("steps", [0, 70, 107, 110])
def test_restoring_in_the_same_process(tmp_path, hidden, steps):
    """107: one has ended, the other has not."""
    datasets = [counting(0, 60), counting(1, 50)]
    datasets = [hiding(d) if i < hidden else d for i, d in enumerate(datasets)]
    mixed = tps.mix(datasets, [2, 1], seed=4, stop="last")
    iterator = iter(mixed)
    before = [int(next(iterator)) for _ in range(steps)]
    saved = tf.train.Checkpoint(iterator=iterator).save(tmp_path / "a")
    rest = [int(value) for value in iterator]
    assert len(before + rest) == 110
    assert len({*sources_of(rest)}) == (1 if steps == 107 else 2 if steps < 107 else 0)
    other = iter(mixed)
    next(other)
    tf.train.Checkpoint(iterator=other).restore(saved)
    assert [int(value) for value in other] == rest


# ---------------------------------------------------------------- what can't work


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ([1], {}, "2 datasets and 1 weights"),
        ([1, -1], {}, "not negative"),
        ([0, 0], {}, "positive"),
        ([float("nan"), 1], {}, "finite"),
        ("ab", {}, "numbers"),
        (3, {}, "numbers"),
        (None, {"stop": "end"}, "stop is"),
        (None, {"stop": ["first"]}, "stop is"),
        (None, {"seed": 1.5}, "seed"),
    ],
)
def test_options_that_cannot_work(weights, options, message):
    with pytest.raises(ValueError, match=message):
        tps.mix([counting(0, 3), counting(1, 3)], weights, **options)


def test_datasets_that_cannot_be_mixed():
    numbers = counting(0, 4)
    with pytest.raises(ValueError, match="at least one"):
        tps.mix([])
    with pytest.raises(ValueError, match=r"datasets\[1\] is of type list"):
        tps.mix([numbers, [1, 2]])
    with pytest.raises(ValueError, match="empty"):
        tps.mix([numbers, counting(1, 0)], stop="never")
    for other in (
        numbers.map(lambda x: tf.cast(x, tf.int32)),
        numbers.map(lambda x: {"x": x}),
        numbers.batch(2),
        numbers.map(lambda x: tf.ragged.constant([[1]], tf.int64)),
    ):
        with pytest.raises(tps.TfpetastormError, match=r"datasets\[0\] and datasets\[2\].*expected.*found") as raised:
            tps.mix([numbers, numbers, other])
        assert str(numbers.element_spec) in str(raised.value)
        assert str(other.element_spec) in str(raised.value)
    with pytest.raises(tps.TfpetastormError, match="batch_size"):
        tps.mix([numbers.batch(2, drop_remainder=True), numbers.batch(3, drop_remainder=True)])
    # A size that one of them leaves open is no difference.
    mixed = tps.mix([numbers.batch(2, drop_remainder=True), numbers.batch(3)], seed=0, stop="last")
    assert mixed.element_spec.shape.as_list() == [None]
    assert sorted(int(i) for batch in mixed for i in batch) == [0, 0, 1, 1, 2, 2, 3, 3]

"""Readers drawn from with given probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tfpetastorm as tps
from tests.reader.memory_reader import MemoryReader
from tfpetastorm.weighted_sampling_reader import WeightedSamplingReader


def endless(value: int) -> MemoryReader:
    return MemoryReader({"f": np.full(10, value, np.int32)}, passes=0)


def drawn(probabilities: list[float], count: int = 1000, seed: int | None = 5) -> list[int]:
    readers = [endless(value) for value in range(len(probabilities))]
    with WeightedSamplingReader(readers, probabilities, seed) as reader:
        return [int(next(reader).f) for _ in range(count)]


@pytest.mark.parametrize("probabilities", [[1.0, 0.0], [0.0, 1.0], [0, 1, 0], [0.0, 0.3, 0.0, 0.7, 0.0]])
def test_a_reader_without_a_chance_is_never_drawn(probabilities: list[float]) -> None:
    assert set(drawn(probabilities)) == set(np.flatnonzero(probabilities))


@pytest.mark.parametrize("probabilities", [[10, 90], [0.1, 0.9], [0.1, 0.5, 0.4]])
def test_readers_come_in_proportion(probabilities: list[float]) -> None:
    shares = np.bincount(drawn(probabilities, 20_000), minlength=len(probabilities)) / 20_000
    np.testing.assert_allclose(shares, np.array(probabilities) / sum(probabilities), atol=0.015)


def test_a_seed_decides_the_draws_which_petastorm_could_not_do() -> None:
    assert drawn([1, 1]) == drawn([1, 1])
    assert drawn([1, 1]) != drawn([1, 1], seed=6)
    assert drawn([1, 1], seed=0) == drawn([1, 1], seed=0)


def test_without_a_seed_numpys_global_one_decides_as_for_petastorm() -> None:
    np.random.seed(42)  # noqa: NPY002
    first = drawn([1, 1], seed=None)
    second = drawn([1, 1], seed=None)
    np.random.seed(42)  # noqa: NPY002
    assert drawn([1, 1], seed=None) == first != second


def test_a_pass_ends_with_the_first_reader_drawn_that_has_nothing_left() -> None:
    readers = [MemoryReader({"f": np.arange(1000)}), MemoryReader({"f": 1000 + np.arange(10)})]
    with WeightedSamplingReader(readers, [0.5, 0.5], seed=1) as reader:
        assert len(reader) == 1010
        values = [int(row.f) for row in reader]
        assert [value for value in values if value >= 1000] == list(range(1000, 1010))
        assert [value for value in values if value < 1000] == list(range(len(values) - 10))
        assert reader.last_row_consumed
        # Ended, though the other reader has more.
        assert list(reader) == []


def test_reset_begins_a_new_pass_with_new_draws_at_any_moment() -> None:
    def make() -> Any:
        readers = [MemoryReader({"f": np.arange(100)}), MemoryReader({"f": 1000 + np.arange(100)})]
        return WeightedSamplingReader(readers, [0.5, 0.5], seed=1)

    whole, cut = make(), make()
    first = [int(row.f) for row in whole]
    whole.reset()
    assert not whole.last_row_consumed
    second = [int(row.f) for row in whole]
    assert [next(cut).f for _ in range(7)] == first[:7]
    cut.reset()
    assert [int(row.f) for row in cut] == second != first


def test_stop_and_join_reach_all_readers() -> None:
    readers = [endless(0), endless(1)]
    with WeightedSamplingReader(readers, [1, 1]) as reader:
        assert not reader.stopped
    assert reader.stopped
    assert all(inner.stopped and inner.joined for inner in readers)


def test_batches_are_drawn_as_wholes() -> None:
    readers = [MemoryReader({"f": np.zeros(30)}, batch=10), MemoryReader({"f": np.ones(30)}, batch=10)]
    with WeightedSamplingReader(readers, [1, 1], seed=3) as reader:
        assert reader.batched_output
        batches = [batch.f for batch in reader]
    assert len(batches) >= 3
    assert all(len(np.unique(batch)) == 1 and len(batch) == 10 for batch in batches)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([0.1], "same length"),
        ([0.1, 0.2, 0.7], "same length"),
        ([0.0, 0.0], "one above 0"),
        ([-1.0, 2.0], "none negative"),
        ([float("nan"), 1.0], "finite"),
        ([float("inf"), 1.0], "finite"),
    ],
)
def test_probabilities_are_checked(probabilities: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightedSamplingReader([endless(0), endless(1)], probabilities)


def test_one_reader_is_no_mix() -> None:
    with pytest.raises(ValueError, match="Two or more readers"):
        WeightedSamplingReader([endless(0)], [1.0])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (MemoryReader({"g": np.arange(3)}), "same schema; field 'f' differs"),
        (MemoryReader({"f": np.arange(3), "g": np.arange(3)}), "same schema; field 'g' differs"),
        (MemoryReader({"f": np.arange(3.0)}), r"expected int64 \(\), found float64 \(\)"),
        (MemoryReader({"f": np.zeros((3, 2), np.int64)}), r"found int64 \(2,\)"),
        (MemoryReader({"f": np.arange(3)}, batch=2), "same batched_output"),
        (MemoryReader({"f": np.arange(3)}, ngram=tps.NGram({0: ["f"]}, 1, "f")), "same ngram spec"),
    ],
)
def test_readers_must_be_alike(other: MemoryReader, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightedSamplingReader([MemoryReader({"f": np.arange(3)}), other], [1, 1])


def test_equal_ngrams_are_the_same() -> None:
    readers = [MemoryReader({"f": np.arange(3)}, ngram=tps.NGram({0: ["f"], 1: ["f"]}, 1, "f")) for _ in range(2)]
    assert WeightedSamplingReader(readers, [1, 1]).ngram == readers[1].ngram


# ---------------------------------------------------------------------- of stored datasets


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weighted") / "d"
    schema = tps.Unischema("S", [tps.UnischemaField("id", np.int64, ()), tps.UnischemaField("x", np.float32, ())])
    with tps.DatasetWriter(path, schema, row_group_rows=10) as writer:
        writer.write_batch({"id": np.arange(100), "x": np.zeros(100, np.float32)})
    return path.as_uri()


@pytest.mark.parametrize("make", [tps.make_reader, tps.make_batch_reader])
def test_readers_of_datasets(url: str, make: Any) -> None:
    readers = [make(url, shuffle_row_groups=False), make(url, shuffle_row_groups=False, filters=[("id", ">=", 50)])]
    with WeightedSamplingReader(readers, [0.5, 0.5], seed=2) as reader:
        assert len(reader) == 150
        first = [np.atleast_1d(element.id).tolist() for element in reader]
        reader.reset()
        second = [np.atleast_1d(element.id).tolist() for element in reader]
    flat = [row for rows in first for row in rows]
    assert 50 <= len(flat) <= 150
    assert first != second
    assert all(reader.stopped for reader in readers)
    with pytest.raises(RuntimeError):
        next(reader)


def test_columns_come_of_the_reader_that_is_drawn(url: str) -> None:
    readers = [tps.make_reader(url, shuffle_row_groups=False, seed=0) for _ in range(2)]
    with WeightedSamplingReader(readers, [1, 0]) as reader:
        found = []
        with pytest.raises(StopIteration):
            while True:
                found += reader.next_columns()["id"].tolist()
    assert found == list(range(100))


def test_ngrams_of_datasets_mix(url: str) -> None:
    readers = [tps.make_reader(url, tps.NGram({0: ["id"], 1: ["id", "x"]}, 1, "id")) for _ in range(2)]
    with WeightedSamplingReader(readers, [0.5, 0.5], seed=1) as reader:
        window = next(reader)
        assert set(window) == {0, 1}
        assert window[1].id == window[0].id + 1
    other = tps.make_reader(url, tps.NGram({0: ["id", "x"], 1: ["id"]}, 1, "id"))
    with pytest.raises(ValueError, match="ngram"):
        WeightedSamplingReader([readers[0], other], [1, 1])

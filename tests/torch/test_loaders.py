"""Petastorm's loaders over a reader: what comes out, in which order, and what petastorm's could not do."""

from __future__ import annotations

import functools
from collections import Counter
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

from tests.reader.memory_reader import MemoryReader
from tfpetastorm.torch import BatchedDataLoader, DataLoader, InMemBatchedDataLoader, decimal_friendly_collate

ROWS = 1000
LOADERS = [DataLoader, BatchedDataLoader]


def reader(batch: int = 0, rows: int = ROWS, passes: int = 1) -> MemoryReader:
    numbers = np.arange(rows)
    columns = {"id": numbers, "half": (numbers / 2).astype(np.float32), "pair": np.stack([numbers, -numbers], 1)}
    return MemoryReader(columns, batch, passes)


def ids(loader: Any) -> list[int]:
    found = []
    for batch in loader:
        # All fields of a row stay together.
        torch.testing.assert_close(batch["half"], (batch["id"] / 2).to(torch.float32))
        torch.testing.assert_close(batch["pair"], torch.stack([batch["id"], -batch["id"]], 1))
        found += batch["id"].tolist()
    return found


@pytest.mark.parametrize("batch", [0, 1, 70, 5000])
@pytest.mark.parametrize("make", LOADERS)
def test_rows_come_in_the_readers_order_in_full_batches(make: Any, batch: int) -> None:
    with make(reader(batch), batch_size=64) as loader:
        sizes = [len(found["id"]) for found in loader]
    assert sizes == [64] * (ROWS // 64) + [ROWS % 64]
    assert len(make(reader(batch), batch_size=64)) == len(sizes)
    assert ids(make(reader(batch), batch_size=64)) == list(range(ROWS))


@pytest.mark.parametrize("capacity", [1, 3, 100, 10_000])
@pytest.mark.parametrize("batch", [0, 70])
@pytest.mark.parametrize("make", LOADERS)
def test_mixing_gives_each_row_once(make: Any, batch: int, capacity: int) -> None:
    found = ids(make(reader(batch), 16, shuffling_queue_capacity=capacity, seed=0))
    assert Counter(found) == Counter(range(ROWS))


@pytest.mark.parametrize("make", LOADERS)
def test_a_seed_decides_the_order_which_petastorm_could_not_do(make: Any) -> None:
    def order(seed: int | None) -> list[int]:
        return ids(make(reader(70), 16, shuffling_queue_capacity=300, seed=seed))

    assert order(0) == order(0) != order(1)
    torch.manual_seed(4)
    first, second = order(None), order(None)
    torch.manual_seed(4)
    assert order(None) == first != second


@pytest.mark.parametrize("make", LOADERS)
def test_mixing_is_as_good_as_the_rows_held_allow(make: Any) -> None:
    """Neighbours of the reader end up far apart, as wide as the rows held; rows of a batch are no neighbours."""
    whole = np.array(ids(make(reader(50), 10, shuffling_queue_capacity=ROWS, seed=1)))
    assert abs(np.corrcoef(whole, np.arange(ROWS))[0, 1]) < 0.12
    held = np.array(ids(make(reader(50), 10, shuffling_queue_capacity=200, seed=1)))
    places = np.argsort(held)
    assert np.median(np.abs(np.diff(places))) > 60
    assert (np.abs(np.diff(held)) == 1).sum() < ROWS / 50
    # Nothing can come before the rows held are full: a row comes earlier than it was read by no more than these.
    assert (held - np.arange(ROWS)).max() < 200 + 10 + 50


@pytest.mark.parametrize("make", LOADERS)
def test_each_pass_resets_the_reader_and_mixes_anew(make: Any) -> None:
    given = reader(70)
    loader = make(given, 16, shuffling_queue_capacity=300, seed=0)
    first, second = ids(loader), ids(loader)
    assert given.resets == 1
    assert first != second
    assert Counter(first) == Counter(second)


@pytest.mark.parametrize("make", LOADERS)
@pytest.mark.parametrize("capacity", [0, 300])
def test_a_pass_left_in_the_middle_leaves_nothing_to_the_next(make: Any, capacity: int) -> None:
    """Petastorm raised at the reset (uber/petastorm#610); its rows of a batch half made, or of a last short one, came
    again in the next pass."""
    loader = make(reader(70), 16, shuffling_queue_capacity=capacity, seed=0)
    for number, _ in enumerate(loader):
        if number == 7:
            break
    assert Counter(ids(loader)) == Counter(range(ROWS))
    assert Counter(ids(loader)) == Counter(range(ROWS))


@pytest.mark.parametrize("make", LOADERS)
def test_two_passes_at_once_are_refused(make: Any) -> None:
    loader = make(reader(), batch_size=2)
    first = iter(loader)
    next(first)
    with pytest.raises(RuntimeError, match="You must finish a full pass of Petastorm DataLoader before making another"):
        next(iter(loader))
    assert len(list(first)) == ROWS // 2 - 1


class Failing(MemoryReader):
    """Fails once, in the middle."""

    def __next__(self) -> Any:
        if not self.resets and self._at == 5:
            raise OSError("the disk is gone")
        return super().__next__()


@pytest.mark.parametrize("make", LOADERS)
def test_a_failed_pass_says_so_and_the_next_one_works(make: Any) -> None:
    loader = make(Failing({"id": np.arange(ROWS)}, 70), 16)
    with pytest.raises(OSError, match="the disk is gone"):
        list(loader)
    assert sum(len(batch["id"]) for batch in loader) == ROWS


def test_an_endless_reader_has_no_end_but_can_be_left() -> None:
    given = reader(70, passes=0)
    with BatchedDataLoader(given, 100) as loader:
        found = [batch["id"][0].item() for batch, _ in zip(loader, range(25), strict=False)]
    assert found[:10] == found[10:20]
    assert given.stopped
    assert given.joined


@pytest.mark.parametrize("make", [*LOADERS, InMemBatchedDataLoader])
@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (np.int8, torch.int8), (np.uint8, torch.uint8), (np.int16, torch.int16), (np.uint16, torch.int32),
        (np.int32, torch.int32), (np.uint32, torch.int64), (np.int64, torch.int64), (np.float16, torch.float16),
        (np.float32, torch.float32), (np.float64, torch.float64), (np.bool_, torch.uint8),
    ],
)  # fmt: skip
def test_what_pytorch_cannot_compute_with_is_promoted(make: Any, batch: int, given: Any, dtype: Any) -> None:
    values = np.array([1, 0, 1], given)
    cells = np.stack([values, values], 1)
    found = list(make(MemoryReader({"scalar": values, "vector": cells}, batch), batch_size=3))
    assert len(found) == 1
    for name, expected in (("scalar", values), ("vector", cells)):
        assert found[0][name].dtype == dtype
        np.testing.assert_array_equal(found[0][name].numpy(), expected)


@pytest.mark.parametrize("make", [*LOADERS, InMemBatchedDataLoader])
@pytest.mark.parametrize("batch", [0, 4])
def test_text_decimals_and_dates_come_where_petastorm_raised(make: Any, batch: int) -> None:
    """uber/petastorm#795: strings."""
    decimals = np.empty(10, object)
    decimals[:] = [Decimal(f"{row}.5") for row in range(10)]
    columns = {
        "name": np.array([f"n{row}" for row in range(10)], object),
        "price": decimals,
        "day": np.datetime64("2026-01-01", "D") + np.arange(10),
    }
    batches = list(make(Cells(columns, batch), batch_size=5))
    assert [batch["name"] for batch in batches] == [[f"n{row}" for row in range(start, start + 5)] for start in (0, 5)]
    assert batches[1]["price"] == decimals[5:].tolist()
    assert batches[0]["day"].tolist() == columns["day"][:5].astype(np.int64).tolist()


class Cells(MemoryReader):
    """Columns of any objects, whose schema nobody asks for."""

    def __init__(self, columns: dict[str, Any], batch: int = 0) -> None:
        super().__init__({name: np.zeros(len(values), np.int64) for name, values in columns.items()}, batch)
        self.columns = columns


def cells(*values: Any) -> Any:
    column = np.empty(len(values), object)
    for row, value in enumerate(values):
        column[row] = value
    return column


@pytest.mark.parametrize("make", LOADERS)
@pytest.mark.parametrize("batch", [0, 4])
@pytest.mark.parametrize("capacity", [0, 100])
def test_arrays_of_different_shapes_come_as_lists_of_tensors(make: Any, batch: int, capacity: int) -> None:
    """uber/petastorm#523."""
    given = Cells({"ragged": cells(*(np.arange(row % 3, dtype=np.int32) for row in range(12)))}, batch)
    found = [cell for group in make(given, 6, shuffling_queue_capacity=capacity, seed=1) for cell in group["ragged"]]
    assert Counter(tuple(cell.tolist()) for cell in found) == {(): 4, (0,): 4, (0, 1): 4}
    assert all(cell.dtype == torch.int32 for cell in found)


@pytest.mark.parametrize("make", LOADERS)
def test_a_missing_number_is_told_by_its_field(make: Any) -> None:
    with pytest.raises(TypeError, match="Found None in speed"):
        list(make(Cells({"speed": cells(1, None, 2)}), batch_size=3))
    names = list(make(Cells({"name": cells("a", None)}), batch_size=2))
    assert names == [{"name": ["a", None]}]


def test_a_collate_fn_of_ones_own_is_given_rows() -> None:
    given = MemoryReader({"id": np.arange(5, dtype=np.uint16), "image": np.ones((5, 2, 2), np.uint16)}, 2)
    batches = list(DataLoader(given, 2, collate_fn=lambda rows: rows))
    assert [[row["id"].item() for row in batch] for batch in batches] == [[0, 1], [2, 3], [4]]
    assert batches[0][0]["image"].dtype == np.int32


@pytest.mark.parametrize("batch", [0, 3])
def test_a_transform_fn_is_given_columns(batch: int) -> None:
    given = MemoryReader({"id": np.arange(10)}, batch)
    found = list(BatchedDataLoader(given, 4, functools.partial(torch.as_tensor, dtype=torch.float64)))
    assert [group["id"].dtype for group in found] == [torch.float64] * 3
    assert torch.cat([group["id"] for group in found]).tolist() == list(range(10))


def test_batches_do_not_change_when_one_before_them_does() -> None:
    values = np.arange(12)
    loader = BatchedDataLoader(MemoryReader({"id": values}, 12), 4)
    found = []
    for batch in loader:
        found.append(batch["id"].tolist())
        batch["id"] += 100
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


# ---------------------------------------------------------------------- in memory


def test_in_memory_repeats_the_readers_order() -> None:
    given = reader()
    with InMemBatchedDataLoader(given, 64, num_epochs=3, rows_capacity=ROWS) as loader:
        assert given.stopped
        assert given.joined
        assert len(loader) == 3 * 16
        assert ids(loader) == [*range(ROWS)] * 3


def test_in_memory_shuffles_each_epoch_anew_by_seed() -> None:
    def orders(seed: int) -> list[list[int]]:
        found = ids(InMemBatchedDataLoader(reader(70), 64, None, 3, seed, ROWS, True))
        return [found[start : start + ROWS] for start in range(0, 3 * ROWS, ROWS)]

    first = orders(0)
    assert first == orders(0)
    assert all(Counter(order) == Counter(range(ROWS)) for order in first)
    others = orders(1)
    # Petastorm seeded with seed + epoch, so that seed 1 began with the second order of seed 0.
    assert len({tuple(order) for order in [*first, *others]}) == 6


@pytest.mark.parametrize("capacity", [1, 69, 70, 71, 999])
def test_in_memory_reads_no_more_than_it_keeps(capacity: int) -> None:
    given = reader(70)
    assert ids(InMemBatchedDataLoader(given, 64, rows_capacity=capacity)) == list(range(capacity))
    assert given._at == -(-capacity // 70)


def test_in_memory_takes_an_endless_reader() -> None:
    assert ids(InMemBatchedDataLoader(reader(passes=0, rows=10), 64, rows_capacity=25)) == [
        *range(10),
        *range(10),
        0,
        1,
        2,
        3,
        4,
    ]


def test_in_memory_of_nothing_has_no_batches() -> None:
    assert list(InMemBatchedDataLoader(reader(rows=0), 64)) == []


def test_in_memory_is_iterated_once() -> None:
    loader = InMemBatchedDataLoader(reader(), 64)
    next(iter(loader))
    with pytest.raises(RuntimeError, match="InMemBatchedDataLoader couldn't be used multiple times"):
        next(iter(loader))


# ---------------------------------------------------------------------- arguments, collating


@pytest.mark.parametrize(("make", "arguments"), [
    (DataLoader, {"batch_size": 0}), (BatchedDataLoader, {"shuffling_queue_capacity": -1}),
    (DataLoader, {"seed": 1.5}), (InMemBatchedDataLoader, {"rows_capacity": 0}),
])  # fmt: skip
def test_numbers_are_checked(make: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        make(reader(), **arguments)


@pytest.mark.parametrize("make", [*LOADERS, InMemBatchedDataLoader])
def test_ngrams_are_refused_by_an_error_that_says_what_to_do(make: Any) -> None:
    given = reader()
    given.ngram = "not none"
    with pytest.raises(ValueError, match="make_dataset"):
        list(make(given))


def test_collating_what_pytorch_refuses() -> None:
    assert decimal_friendly_collate([{}]) == {}
    found = decimal_friendly_collate([
        {"d": Decimal(1), "i": 1, "s": "a", "t": (1, "x"), "n": None, "u": np.array(["p", "q"])},
        {"d": Decimal(2), "i": 2, "s": "b", "t": (2, "y"), "n": "z", "u": np.array(["r"])},
    ])  # fmt: skip
    assert found["d"] == [Decimal(1), Decimal(2)]
    assert found["i"].tolist() == [1, 2]
    assert found["s"] == ["a", "b"]
    assert found["t"][0].tolist() == [1, 2]
    assert found["t"][1] == ("x", "y")
    assert found["n"] == [None, "z"]
    assert found["u"] == [["p", "q"], ["r"]]
    with pytest.raises(TypeError, match="Found None in x"):
        decimal_friendly_collate([{"x": 1}, {"x": None}])


def test_petastorms_own_helper_promotes_only_what_this_pytorch_lacks() -> None:
    from tfpetastorm.pytorch import _sanitize_pytorch_types

    row = {name: np.zeros(2, name) for name in ("int8", "uint16", "uint32", "int64", "bool")} | {"flag": np.bool_(True)}
    _sanitize_pytorch_types(row)
    found = {name: value.dtype.name for name, value in row.items()}
    native = {
        name: name if hasattr(torch, name) else wider for name, wider in (("uint16", "int32"), ("uint32", "int64"))
    }
    assert found == {"int8": "int8", **native, "int64": "int64", "bool": "uint8", "flag": "uint8"}

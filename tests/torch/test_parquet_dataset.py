"""`ParquetDataset`: what comes out, with PyTorch's own worker processes, and by ranks."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import tfpetastorm as tps
from tfpetastorm.torch import ParquetDataset

pytestmark = [
    # Of PyTorch, where a machine has fewer cores than a test has workers; of Python from 3.12 on, where it forks them.
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

ROWS = 500
SCHEMA = tps.Unischema(
    "Drive",
    [
        tps.UnischemaField("id", np.int64, ()),
        tps.UnischemaField("label", np.uint16, ()),
        tps.UnischemaField("name", np.str_, ()),
        tps.UnischemaField("image", np.uint8, (4, 5, 3), tps.CompressedImageCodec("png")),
        tps.UnischemaField("points", np.float32, (None, 2), tps.NdarrayCodec()),
    ],
)


def rows() -> list[dict[str, Any]]:
    return [
        {
            "id": row,
            "label": row % 7,
            "name": f"row {row}",
            "image": np.full((4, 5, 3), row % 256, np.uint8),
            "points": np.full((row % 4, 2), row, np.float32),
        }
        for row in range(ROWS)
    ]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torch") / "drive"
    with tps.DatasetWriter(path, SCHEMA, row_group_rows=37) as writer:
        for row in rows():
            writer.write(row)
    return path


def loaded(dataset: ParquetDataset, workers: int = 0, **options: Any) -> list[dict[str, Any]]:
    return list(DataLoader(dataset, batch_size=None, num_workers=workers, **options))


def ids(batches: list[dict[str, Any]]) -> list[int]:
    return [row for batch in batches for row in batch["id"].tolist()]


# ---------------------------------------------------------------------- what comes out


def test_batches_hold_every_row_as_it_was_written(url: Path) -> None:
    batches = list(ParquetDataset(url, batch_size=64))
    assert [len(batch["id"]) for batch in batches] == [64] * 7 + [52]
    assert ids(batches) == list(range(ROWS))
    for batch in batches:
        assert {name: getattr(value, "dtype", list) for name, value in batch.items()} == {
            "id": torch.int64, "label": torch.uint16, "name": list, "image": torch.uint8, "points": list,
        }  # fmt: skip
        assert batch["image"].shape[1:] == (4, 5, 3)
        for place, row in enumerate(batch["id"].tolist()):
            assert batch["label"][place].item() == row % 7
            assert batch["name"][place] == f"row {row}"
            assert batch["image"][place].unique().tolist() == [row % 256]
            assert batch["points"][place].tolist() == [[row, row]] * (row % 4)
            assert batch["points"][place].dtype == torch.float32


@pytest.mark.parametrize("dtype", [
    np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float16, np.float32,
    np.float64,
])  # fmt: skip
def test_tensors_have_the_fields_own_dtype(dataset_path: Path, dtype: Any) -> None:
    values = np.array([0, 1, 1, 0], bool) if dtype is np.bool_ else np.array([0, 1, 100, np.iinfo(np.int8).max], dtype)
    schema = tps.Unischema(
        "S", [tps.UnischemaField("x", dtype, ()), tps.UnischemaField("v", dtype, (2,), tps.NdarrayCodec())]
    )
    with tps.DatasetWriter(dataset_path, schema) as writer:
        writer.write_batch({"x": values, "v": np.stack([values, values], 1)})
    (batch,) = ParquetDataset(dataset_path, batch_size=4)
    assert str(batch["x"].dtype) == f"torch.{np.dtype(dtype).name}"
    np.testing.assert_array_equal(batch["x"].numpy(), values)
    np.testing.assert_array_equal(batch["v"].numpy(), np.stack([values, values], 1))


def test_other_kinds_come_as_make_dataset_gives_them_but_text_as_lists(dataset_path: Path) -> None:
    schema = tps.Unischema("S", [
        tps.UnischemaField("when", np.datetime64, ()),
        tps.UnischemaField("price", Decimal, ()),
        tps.UnischemaField("raw", np.bytes_, ()),
        tps.UnischemaField("words", np.str_, (None,)),
    ])  # fmt: skip
    when = np.datetime64("2026-01-02T03:04:05.000006")
    with tps.DatasetWriter(dataset_path, schema) as writer:
        writer.write({"when": when, "price": Decimal("1.50"), "raw": b"\0a", "words": np.array(["a", "bc"])})
        writer.write({"when": when, "price": Decimal("2.50"), "raw": b"", "words": np.array([], np.str_)})
    (batch,) = ParquetDataset(dataset_path, batch_size=2)
    theirs = next(iter(tps.make_dataset(dataset_path, batch_size=2)))
    assert batch["when"].tolist() == theirs["when"].numpy().tolist()
    assert batch["price"] == [Decimal("1.50"), Decimal("2.50")]
    assert batch["raw"] == [b"\0a", b""]
    assert batch["words"] == [["a", "bc"], []]


def test_variable_shapes_are_padded_on_request(url: Path, dataset_path: Path) -> None:
    (batch,) = ParquetDataset(url, fields=["id", "points"], batch_size=ROWS, ragged="pad")
    assert batch["points"].shape == (ROWS, 3, 2)
    expected = torch.zeros(ROWS, 3, 2)
    for row in range(ROWS):
        expected[row, : row % 4] = row
    torch.testing.assert_close(batch["points"], expected)
    (batch,) = ParquetDataset(url, batch_size=ROWS, ragged={"points": 5})
    torch.testing.assert_close(batch["points"][:, :3], expected)
    assert batch["points"].shape == (ROWS, 5, 2)
    assert not batch["points"][:, 3:].any()
    with pytest.raises(ValueError, match="less than the 3 items"):
        list(ParquetDataset(url, batch_size=ROWS, ragged={"points": 2}))
    for bad in ("cut", {"points": 0}, {"nope": "pad"}, {"name": "pad"}, {"id": 3}):
        with pytest.raises(ValueError, match="ragged"):
            ParquetDataset(url, batch_size=5, ragged=bad)

    schema = tps.Unischema("S", [tps.UnischemaField("m", np.int32, (None, None), tps.NdarrayCodec())])
    cells = [np.arange(a * b, dtype=np.int32).reshape(a, b) + 1 for a, b in ((2, 3), (0, 0), (1, 4), (3, 1))]
    with tps.DatasetWriter(dataset_path, schema) as writer:
        for cell in cells:
            writer.write({"m": cell})
    (batch,) = ParquetDataset(dataset_path, batch_size=4, ragged="pad")
    assert batch["m"].shape == (4, 3, 4)
    for padded, cell in zip(batch["m"], cells, strict=True):
        np.testing.assert_array_equal(padded[: cell.shape[0], : cell.shape[1]].numpy(), cell)
        assert padded.sum() == cell.sum()


def test_rows_come_one_by_one_for_a_loader_that_batches_itself(url: Path) -> None:
    dataset = ParquetDataset(url, fields=["id", "label", "name"])
    assert len(dataset) == ROWS
    row = next(iter(dataset))
    assert (row["id"].item(), row["label"].item(), row["name"]) == (0, 0, "row 0")
    batches = list(DataLoader(dataset, batch_size=50))
    assert ids(batches) == list(range(ROWS))
    assert batches[0]["name"][:2] == ["row 0", "row 1"]


def test_options_of_make_dataset_hold(url: Path) -> None:
    def halved(columns: dict[str, Any]) -> dict[str, Any]:
        return {**columns, "half": columns["id"] / 2}

    change = tps.Transform(halved, edit_fields=[tps.UnischemaField("half", np.float64, ())])
    dataset = ParquetDataset(url, fields=["id"], batch_size=32, where=[("label", "==", 3)], transform=change)
    expected = [row for row in range(ROWS) if row % 7 == 3]
    batches = list(dataset)
    assert ids(batches) == expected
    assert [value for batch in batches for value in batch["half"].tolist()] == [row / 2 for row in expected]
    assert len(dataset) == len(batches)
    train = ids(list(ParquetDataset(url, batch_size=32, split=tps.Split("train", {"train": 0.8, "test": 0.2}))))
    test = ids(list(ParquetDataset(url, batch_size=32, split=tps.Split("test", {"train": 0.8, "test": 0.2}))))
    assert sorted(train + test) == list(range(ROWS))
    assert len(list(ParquetDataset(url, batch_size=64, drop_remainder=True))) == 7
    opened = tps.open_dataset(url)
    assert ids(list(ParquetDataset(opened, fields=["id"], batch_size=100))) == list(range(ROWS))


def test_the_order_is_that_of_make_dataset(url: Path) -> None:
    """One engine: the same seed and epoch give TensorFlow and PyTorch the same batches."""
    for epoch in (0, 3):
        ours = ids(list(ParquetDataset(url, fields=["id"], batch_size=64, shuffle=True, seed=7, epoch=epoch)))
        theirs = tps.make_dataset(url, fields=["id"], batch_size=64, shuffle=True, seed=7, epoch=epoch)
        assert ours == [row for batch in theirs for row in batch["id"].numpy().tolist()]


def test_each_epoch_has_its_own_order(url: Path) -> None:
    dataset = ParquetDataset(url, fields=["id"], batch_size=64, shuffle=True, seed=1)
    first, again = ids(list(dataset)), ids(list(dataset))
    dataset.set_epoch(1)
    assert dataset.epoch == 1
    second = ids(list(dataset))
    assert first == again != second
    assert Counter(first) == Counter(second) == Counter(range(ROWS))
    assert np.corrcoef(first, range(ROWS))[0, 1] < 0.2
    both = ParquetDataset(url, fields=["id"], batch_size=64, shuffle=True, seed=1, epochs=2)
    assert ids(list(both)) == first + second
    assert len(both) == 16
    drawn = ParquetDataset(url, fields=["id"], batch_size=64, shuffle=True)
    assert ids(list(ParquetDataset(url, fields=["id"], batch_size=64, shuffle=True, seed=drawn.seed))) == ids(
        list(drawn)
    )


# ---------------------------------------------------------------------- PyTorch's own workers


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("shuffle", [False, tps.Shuffle(block_rows=90)])
@pytest.mark.parametrize("batch_size", [16, 64])
def test_worker_processes_divide_the_steps(url: Path, workers: int, shuffle: Any, batch_size: int) -> None:
    dataset = ParquetDataset(url, batch_size=batch_size, shuffle=shuffle, seed=3)
    alone, shared = loaded(dataset), loaded(dataset, workers)
    loader = DataLoader(dataset, batch_size=None, num_workers=workers)
    assert len(loader) == len(dataset) == len(shared) == len(alone)
    # The very same batches: their rows, and the order of these.
    assert Counter(map(tuple, (batch["id"].tolist() for batch in alone))) == Counter(
        map(tuple, (batch["id"].tolist() for batch in shared))
    )
    assert ids(loaded(dataset, workers)) == ids(shared)
    assert {len(batch["id"]) for batch in shared[:-1]} == {batch_size}
    for batch in shared:
        for place, row in enumerate(batch["id"].tolist()):
            assert batch["points"][place].tolist() == [[row, row]] * (row % 4)
            assert batch["name"][place] == f"row {row}"


def test_one_worker_gives_the_order_of_none(url: Path) -> None:
    dataset = ParquetDataset(url, fields=["id"], batch_size=16, shuffle=True, seed=3)
    assert ids(loaded(dataset, 1)) == ids(loaded(dataset))


def test_more_workers_than_steps(url: Path) -> None:
    dataset = ParquetDataset(url, fields=["id"], batch_size=300)
    assert sorted(ids(loaded(dataset, 3))) == list(range(ROWS))


def test_workers_that_live_on_hear_of_the_next_epoch(url: Path) -> None:
    dataset = ParquetDataset(url, fields=["id"], batch_size=16, shuffle=True, seed=3)
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)
    orders = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        orders.append(ids(list(loader)))
        assert sorted(orders[-1]) == list(range(ROWS))
    dataset.set_epoch(0)
    assert ids(list(loader)) == orders[0]
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_it_travels_to_processes_that_are_not_forked(url: Path, context: str) -> None:
    offset = 1000
    change = tps.Transform(lambda columns: {"id": columns["id"] + offset})
    dataset = ParquetDataset(url, fields=["id"], batch_size=64, shuffle=True, seed=3, transform=change)
    loader = DataLoader(
        dataset, batch_size=None, num_workers=2, multiprocessing_context=context, persistent_workers=True
    )
    first = ids(list(loader))
    assert sorted(first) == list(range(offset, offset + ROWS))
    dataset.set_epoch(1)
    assert ids(list(loader)) != first


def test_a_pass_that_is_left_ends_its_workers(url: Path) -> None:
    dataset = ParquetDataset(url, batch_size=4, shuffle=True, seed=3)
    for _ in range(3):
        for number, _ in enumerate(DataLoader(dataset, batch_size=None, num_workers=2)):
            if number == 5:
                break
    assert sorted(ids(loaded(dataset, 2))) == list(range(ROWS))


def test_an_error_in_a_worker_says_where(url: Path) -> None:
    def failing(columns: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("no such thing")

    dataset = ParquetDataset(url, fields=["id"], batch_size=4, transform=failing)
    with pytest.raises(Exception, match="no such thing"):
        loaded(dataset, 2)
    with pytest.raises(tps.TfpetastormError, match=r"no such thing.*row group 0"):
        loaded(dataset)


def test_it_can_be_pickled_and_copied(url: Path) -> None:
    dataset = ParquetDataset(url, fields=["id"], batch_size=64, shuffle=True, seed=3)
    next(iter(dataset))
    expected = ids(list(dataset))
    assert ids(list(pickle.loads(pickle.dumps(dataset)))) == expected
    assert ids(list(copy.deepcopy(dataset))) == expected


# ---------------------------------------------------------------------- ranks


def of_ranks(url: Path, world: int, workers: int = 0, **options: Any) -> list[list[dict[str, Any]]]:
    return [
        loaded(ParquetDataset(url, fields=["id"], rank=rank, world_size=world, seed=5, **options), workers)
        for rank in range(world)
    ]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_ranks_make_equally_many_steps_of_distinct_rows(url: Path, world: int, workers: int, shuffle: bool) -> None:
    for epoch in (0, 1):
        ranks = of_ranks(url, world, workers, batch_size=16, even="drop", shuffle=shuffle, epoch=epoch)
        assert len({len(batches) for batches in ranks}) == 1
        assert (
            len({tuple(len(batch["id"]) for batch in sorted(batches, key=lambda b: len(b["id"]))) for batches in ranks})
            == 1
        )
        found = Counter(row for batches in ranks for row in ids(batches))
        assert max(found.values()) == 1
        assert len(found) > ROWS - world


@pytest.mark.parametrize("workers", [0, 2])
def test_padding_gives_every_row_once_and_marks_the_rest(url: Path, workers: int) -> None:
    ranks = of_ranks(url, 3, workers, batch_size=32, even="pad", drop_remainder=True)
    assert {len(batch["id"]) for batches in ranks for batch in batches} == {32}
    assert {len(batches) for batches in ranks} == {-(-ROWS // 96)}
    real = [row for batches in ranks for batch in batches for row in batch["id"][batch["row_mask"]].tolist()]
    assert sorted(real) == list(range(ROWS))


def test_repeating_fills_up_with_rows(url: Path) -> None:
    ranks = of_ranks(url, 3, batch_size=32, even="repeat", drop_remainder=True, shuffle=True)
    found = Counter(row for batches in ranks for row in ids(batches))
    assert set(found) == set(range(ROWS))
    assert sum(found.values()) == 3 * 32 * -(-ROWS // 96)
    assert "row_mask" not in ranks[0][0]


@pytest.mark.parametrize(("options", "message"), [
    ({"rank": 0}, "together"), ({"rank": 2, "world_size": 2, "even": "drop"}, "last of 2 is 1"),
    ({"rank": 0, "world_size": 2}, 'even="drop"'),
    ({"rank": 0, "world_size": 2, "even": "drop", "shuffle": True}, "one seed"),
    ({"batch_size": 0}, "batch_size"), ({"epochs": 0}, "epochs"), ({"where": [("id", "<", 0)]}, "no rows"),
    ({"batch_size": 501, "drop_remainder": True}, "leave no step"), ({"even": "some"}, "even"),
])  # fmt: skip
def test_options_that_cannot_work(url: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ParquetDataset(url, **options)


def test_a_batch_travels_in_one_piece_however_many_tensors_it_has(dataset_path: Path) -> None:
    """PyTorch would make a piece of shared memory, with an open file, for each."""
    schema = tps.Unischema(
        "S",
        [
            tps.UnischemaField("id", np.int64, ()),
            tps.UnischemaField("v", np.float32, (None,), tps.NdarrayCodec()),
            tps.UnischemaField("m", np.uint16, (None, None), tps.NdarrayCodec()),
            tps.UnischemaField("flag", np.bool_, ()),
            tps.UnischemaField("half", np.float16, (2, 3), tps.NdarrayCodec()),
            tps.UnischemaField("words", np.str_, (None,)),
        ],
    )
    count = 2000
    with tps.DatasetWriter(dataset_path, schema, row_group_rows=500) as writer:
        for row in range(count):
            writer.write({
                "id": row, "v": np.full(row % 3, row, np.float32), "m": np.full((row % 2, 3), row, np.uint16),
                "flag": row % 2 == 0, "half": np.full((2, 3), row % 100, np.float16),
                "words": np.array(["a"] * (row % 3), np.str_),
            })  # fmt: skip
    dataset = ParquetDataset(dataset_path, batch_size=count)
    (alone,) = dataset
    (sent,) = loaded(dataset, 1)
    assert type(sent) is dict
    tensors = [sent["id"], sent["flag"], sent["half"], *sent["v"][1:3], sent["m"][1][0]]
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
    assert sent["id"].is_shared()
    assert list(sent) == list(alone)
    for name in ("id", "flag", "half"):
        assert sent[name].dtype == alone[name].dtype
        assert torch.equal(sent[name], alone[name])
    assert sent["words"] == alone["words"]
    for row in range(count):
        assert sent["v"][row].tolist() == [row] * (row % 3)
        assert [part.tolist() for part in sent["m"][row]] == [[row] * 3] * (row % 2)
    sent["id"] += 1
    assert torch.equal(sent["half"], alone["half"])


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_that_are_kept_keep_their_memory(dataset_path: Path, shuffle: bool) -> None:
    """Columns of a megabyte and more are made in memory that is used again, once nothing refers to it."""
    schema = tps.Unischema("S", [tps.UnischemaField("id", np.int64, ()), tps.UnischemaField("x", np.int64, (64, 64))])
    with tps.DatasetWriter(dataset_path, schema, row_group_rows=50) as writer:
        for row in range(400):
            writer.write({"id": row, "x": np.full((64, 64), row)})
    dataset = ParquetDataset(dataset_path, batch_size=16, shuffle=shuffle, seed=1, epochs=3)
    kept = []
    for number, batch in enumerate(dataset):
        if number % 4 == 0:
            kept.append(batch)
        batch["x"] *= 2
    assert len(kept) == 19
    for batch in kept:
        assert torch.equal(batch["x"], (2 * batch["id"])[:, None, None].expand(-1, 64, 64))

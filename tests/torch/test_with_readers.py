"""The loaders over readers of stored datasets."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

import tfpetastorm as tps
from tfpetastorm import make_batch_reader, make_reader
from tfpetastorm.torch import BatchedDataLoader, DataLoader, InMemBatchedDataLoader
from tfpetastorm.weighted_sampling_reader import WeightedSamplingReader

ROWS = 200
LOADERS = [DataLoader, BatchedDataLoader]
READERS = [make_reader, make_batch_reader]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("readers") / "d"
    schema = tps.Unischema(
        "S",
        [
            tps.UnischemaField("id", np.int64, ()),
            tps.UnischemaField("kind", np.uint16, ()),
            tps.UnischemaField("name", np.str_, ()),
            tps.UnischemaField("price", Decimal, ()),
            tps.UnischemaField("image", np.uint8, (3, 4), tps.CompressedImageCodec("png")),
            tps.UnischemaField("points", np.float32, (None,), tps.NdarrayCodec()),
            tps.UnischemaField("speed", np.float32, (), nullable=True),
            tps.UnischemaField("gear", np.int32, (), nullable=True),
        ],
    )
    with tps.DatasetWriter(path, schema, row_group_rows=23) as writer:
        for row in range(ROWS):
            writer.write({
                "id": row, "kind": row % 5, "name": f"n{row}", "price": Decimal(row) / 4,
                "image": np.full((3, 4), row % 256, np.uint8), "points": np.full(row % 3, row, np.float32),
                "speed": None if row % 10 == 9 else row, "gear": None if row % 10 == 9 else row,
            })  # fmt: skip
    return path.as_uri()


@pytest.mark.parametrize("make", LOADERS)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("capacity", [0, 50])
def test_rows_arrive_whole(url: str, make: Any, reader: Any, capacity: int) -> None:
    fields = ["id", "kind", "name", "price", "image", "points"]
    with make(reader(url, schema_fields=fields, num_epochs=2), 16, shuffling_queue_capacity=capacity) as loader:
        assert len(loader) == 25
        batches = list(loader)
    assert len(batches) == 25
    seen: Counter[int] = Counter()
    for batch in batches:
        assert (batch["id"].dtype, batch["kind"].dtype, batch["image"].dtype) == (torch.int64, torch.int32, torch.uint8)
        for place, row in enumerate(batch["id"].tolist()):
            seen[row] += 1
            assert batch["kind"][place] == row % 5
            assert batch["name"][place] == f"n{row}"
            assert batch["price"][place] == Decimal(row) / 4
            assert batch["image"][place].unique().tolist() == [row % 256]
            assert batch["points"][place].tolist() == [row] * (row % 3)
    assert seen == dict.fromkeys(range(ROWS), 2)


@pytest.mark.parametrize("make", LOADERS)
@pytest.mark.parametrize("reader", READERS)
def test_a_pass_may_be_left_and_begun_again(url: str, make: Any, reader: Any) -> None:
    """uber/petastorm#610, #553."""
    with make(reader(url, schema_fields=["id"]), 16) as loader:
        for number, _ in enumerate(loader):
            if number == 3:
                break
        for _ in range(3):
            assert sorted(row for batch in loader for row in batch["id"].tolist()) == list(range(ROWS))


@pytest.mark.parametrize("reader", READERS)
def test_in_memory(url: str, reader: Any) -> None:
    given = reader(url, schema_fields=["id", "name"], shuffle_row_groups=False, num_epochs=None)
    with InMemBatchedDataLoader(given, 16, num_epochs=2, rows_capacity=50, shuffle=True) as loader:
        assert given.stopped
        batches = list(loader)
    found = [row for batch in batches for row in batch["id"].tolist()]
    assert Counter(found) == Counter([*range(50)] * 2)
    assert [name for batch in batches for name in batch["name"]] == [f"n{row}" for row in found]


@pytest.mark.parametrize("make", LOADERS)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("capacity", [0, 50])
def test_missing_floats_are_nan_and_missing_integers_are_told_by_field(
    url: str, make: Any, reader: Any, capacity: int
) -> None:
    with make(reader(url, schema_fields=["id", "speed"]), 16, shuffling_queue_capacity=capacity) as loader:
        for batch in loader:
            torch.testing.assert_close(batch["speed"].isnan(), batch["id"] % 10 == 9)
    given = reader(url, schema_fields=["id", "gear"])
    with make(given, 16, shuffling_queue_capacity=capacity) as loader, pytest.raises(TypeError, match="None in gear"):
        list(loader)
    with DataLoader(reader(url, schema_fields=["id", "gear"]), 16, lambda rows: rows, capacity) as loader:
        for row in (row for batch in loader for row in batch):
            assert row["gear"] == (None if row["id"] % 10 == 9 else row["id"])


@pytest.mark.parametrize("make", LOADERS)
@pytest.mark.parametrize("reader", READERS)
def test_a_mix_of_readers(url: str, make: Any, reader: Any) -> None:
    def mixed() -> list[int]:
        readers = [
            reader(
                url,
                schema_fields=["id"],
                seed=1,
                shuffle_row_groups=False,
                predicate=[("id", op, 100)],
                num_epochs=None,
            )
            for op in ("<", ">=")
        ]
        with make(WeightedSamplingReader(readers, [0.8, 0.2], seed=3), 10) as loader:
            return [row for batch, _ in zip(loader, range(40), strict=False) for row in batch["id"].tolist()]

    found = mixed()
    assert len(found) == 400
    assert 0.05 < np.mean([row >= 100 for row in found]) < 0.45
    assert found == mixed()

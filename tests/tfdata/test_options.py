"""Options of `make_dataset` at their edges."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tfpetastorm.errors import OptionError


def ids_of(dataset):
    return [int(i) for batch in dataset.as_numpy_iterator() for i in batch["id"]]


def test_numbers_of_numpy_mean_what_pythons_do(plain):
    """A seed's order, and a salt's split, may not depend on how the number prints."""
    ours = tps.make_dataset(plain, fields=["id"], batch_size=32, shuffle=True, seed=7, epoch=2, epochs=2)
    theirs = tps.make_dataset(
        plain,
        fields=["id"],
        batch_size=np.int32(32),
        shuffle=True,
        seed=np.uint8(7),
        epoch=np.int64(2),
        epochs=np.int64(2),
    )
    assert ids_of(ours) == ids_of(theirs) != sorted(ids_of(ours))
    parts = [
        ids_of(tps.make_dataset(plain, fields=["id"], split=tps.Split("a", {"a": 0.5}, salt=salt), batch_size=50))
        for salt in (3, np.int64(3))
    ]
    assert parts[0] == parts[1]


@pytest.mark.parametrize(
    "option",
    [
        {"seed": "seven"}, {"seed": 1.5}, {"seed": True}, {"epoch": -1}, {"epoch": 1.0}, {"epochs": 0},
        {"epochs": 2.5}, {"batch_size": 0}, {"batch_size": 8.0}, {"batch_size": True},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_such_number_is_refused(plain, option):
    with pytest.raises(OptionError, match=next(iter(option))):
        tps.make_dataset(plain, **{"batch_size": 8, **option})


def test_a_fill_value_may_be_rounded_but_not_lost(tmp_path):
    table = pa.table({"x": pa.array([1.5, None], pa.float32()), "h": pa.array([None, np.float16(2)], pa.float16())})
    pq.write_table(table, tmp_path / "a.parquet")
    (batch,) = tps.make_dataset(tmp_path, nulls={"x": 0.1, "h": -0.1}, batch_size=2).as_numpy_iterator()
    assert batch["x"].tolist() == [1.5, np.float32(0.1)]
    assert batch["h"].tolist() == [np.float16(-0.1), 2.0]
    (batch,) = tps.make_dataset(tmp_path, nulls={"x": np.nan, "h": -np.inf}, batch_size=2).as_numpy_iterator()
    assert np.isnan(batch["x"][1])
    assert batch["h"][0] == -np.inf
    for fill in ({"x": 1e39, "h": 0}, {"x": 0, "h": 1e6}, {"x": "0", "h": 0}, {"x": 1j, "h": 0}):
        with pytest.raises(OptionError, match="can't fill field"):
            tps.make_dataset(tmp_path, nulls=fill, batch_size=2)

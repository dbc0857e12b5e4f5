"""Damaged data: an error that says where, or a skip that is counted."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfpetastorm as tps
from tfpetastorm.errors import DamagedDataError, SkipBudgetError

POOLS = ["inline", "thread", "process"]


@pytest.fixture
def copied(plain, tmp_path):
    """A copy of the plain dataset that a test may damage."""
    return shutil.copytree(plain, tmp_path / "copy")


def damage_row_group(path, ordinal):
    """Overwrites the pages of one row group, leaving the footer as it is."""
    metadata = pq.read_metadata(path)
    column = metadata.row_group(ordinal).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(bytes(data))


def ids_of(dataset):
    return [int(i) for batch in dataset for i in batch["id"]]


@pytest.mark.parametrize("pool", POOLS)
def test_a_damaged_row_group_is_an_error_with_file_and_row_group(copied, pool):
    damage_row_group(copied / "part-1.parquet", 2)
    with pytest.raises(tf.errors.OpError, match=r"DamagedDataError.*part-1\.parquet, row group 2") as error:
        ids_of(tps.make_dataset(copied, fields=["id"], batch_size=16, pool=pool))
    assert "Skip(budget" in str(error.value)


@pytest.mark.parametrize("pool", POOLS)
def test_a_skipped_row_group_is_replaced_counted_and_logged(copied, caplog, pool):
    damage_row_group(copied / "part-1.parquet", 2)
    dataset = tps.make_dataset(copied, fields=["id"], batch_size=16, on_error=tps.Skip(budget=20), pool=pool, epochs=2)
    with caplog.at_level(logging.WARNING, "tfpetastorm"):
        ids = ids_of(dataset)
    assert len(ids) == 480
    assert int(dataset.cardinality()) == 30
    assert set(ids) == set(range(240)) - set(range(160, 180))
    # In its place, the rows of the next row group.
    assert ids[160:180] == list(range(180, 200))
    assert tps.stats(dataset).skipped_rows == 20
    assert len([r for r in caplog.records if "part-1.parquet, row group 2" in r.getMessage()]) == 1


def test_the_budget_is_kept(copied):
    damage_row_group(copied / "part-0.parquet", 0)
    damage_row_group(copied / "part-1.parquet", 2)
    for budget in (39, 0.1):
        with pytest.raises(tf.errors.OpError, match=r"SkipBudgetError.*40 rows are damaged and the budget is"):
            ids_of(tps.make_dataset(copied, fields=["id"], batch_size=16, on_error=tps.Skip(budget=budget)))
    assert len(ids_of(tps.make_dataset(copied, fields=["id"], batch_size=16, on_error=tps.Skip(budget=0.17)))) == 240


def test_a_missing_and_a_changed_file(copied):
    stored = tps.open_dataset(copied)
    (copied / "part-1.parquet").unlink()
    with pytest.raises(tf.errors.OpError, match=r"A file is missing.*part-1\.parquet"):
        ids_of(tps.make_dataset(stored, fields=["id"], batch_size=16))
    skipping = tps.make_dataset(stored, fields=["id"], batch_size=16, on_error=tps.Skip(budget=120))
    assert set(ids_of(skipping)) == set(range(120))
    pq.write_table(pq.read_table(copied / "part-0.parquet").slice(0, 30), copied / "part-1.parquet")
    with pytest.raises(tf.errors.OpError, match=r"DatasetChangedError.*has changed since the dataset was opened"):
        ids_of(tps.make_dataset(stored, fields=["id"], batch_size=16))


def test_a_truncated_file_is_found_at_opening(copied):
    path = copied / "part-1.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedDataError, match=r"part-1\.parquet"):
        tps.make_dataset(copied, fields=["id"], batch_size=16)
    dataset = tps.make_dataset(copied, fields=["id"], batch_size=16, on_error=tps.Skip(budget=130))
    assert ids_of(dataset) == list(range(120))
    assert tps.stats(dataset).skipped_rows > 0
    with pytest.raises(SkipBudgetError, match="the budget is 5"):
        tps.make_dataset(copied, fields=["id"], batch_size=16, on_error=tps.Skip(budget=5))


def test_all_damaged_is_an_error_not_an_endless_search(copied):
    for part in (0, 1):
        for ordinal in range(6):
            damage_row_group(copied / f"part-{part}.parquet", ordinal)
    with pytest.raises(tf.errors.OpError, match="No row of the dataset can be read"):
        ids_of(tps.make_dataset(copied, fields=["id"], batch_size=16, on_error=tps.Skip(budget=240)))


@pytest.mark.parametrize("pool", POOLS)
def test_cells_that_do_not_decode(tmp_path, pool):
    """A cell of garbage, one of a wrong shape, one of a wrong dtype: each is skipped by itself."""
    schema = tps.Unischema(
        "Cells", [tps.UnischemaField("id", np.int64), tps.UnischemaField("vec", np.float32, (3,), tps.NdarrayCodec())]
    )
    with tps.DatasetWriter(tmp_path / "d", schema, row_group_rows=10) as writer:
        for i in range(40):
            writer.write({"id": i, "vec": np.full(3, i, np.float32)})
    (path,) = (tmp_path / "d").glob("*.parquet")
    table = pq.read_table(path)
    cells = table["vec"].to_pylist()
    cells[5] = b"garbage"
    cells[17] = cells[17][:-4]
    cells[18] = cells[18].replace(b"(3,)", b"(2,)")
    cells[19] = cells[19].replace(b"<f4", b"<i4")
    bad = {5, 17, 18, 19}
    table = table.set_column(1, table.schema.field("vec"), pa.array(cells, table.schema.field("vec").type))
    pq.write_table(table, path, row_group_size=10)
    stored = tps.open_dataset(tmp_path / "d")
    with pytest.raises(tf.errors.OpError, match=r"'vec'.*row group 0, row 5"):
        ids_of(tps.make_dataset(stored, batch_size=8, pool=pool))
    dataset = tps.make_dataset(stored, batch_size=8, pool=pool, on_error=tps.Skip(budget=4))
    batches = list(dataset.as_numpy_iterator())
    ids = np.concatenate([batch["id"] for batch in batches])
    assert len(ids) == 40
    assert set(ids.tolist()) == set(range(40)) - bad
    np.testing.assert_array_equal(np.concatenate([batch["vec"] for batch in batches])[:, 0], ids)
    assert tps.stats(dataset).skipped_rows == 4

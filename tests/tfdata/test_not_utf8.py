"""Text that is not UTF-8, which Parquet forbids and pyarrow lets pass."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfpetastorm as tps
from tfpetastorm.errors import DamagedDataError

RAW = [b"a", b"\xff\0x", b"c\0", b"\xff\0x", "é".encode()]


@pytest.fixture(params=["flat", "dictionary", "list"])
def texts(tmp_path, request):
    text = pa.array(RAW * 20, pa.binary()).view(pa.string())
    if request.param == "list":
        text = pa.ListArray.from_arrays(pa.array(range(101), pa.int32()), text)
    table = pa.table({"id": np.arange(100), "text": text})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=request.param == "dictionary")
    return tmp_path


def ids_of(dataset):
    return [int(i) for batch in dataset for i in batch["id"]]


def test_the_graph_gets_it_as_it_is(texts):
    (batch,) = tps.make_dataset(texts, batch_size=100)
    value = batch["text"]
    assert (value.flat_values if isinstance(value, tf.RaggedTensor) else value).numpy().tolist() == RAW * 20


def test_a_users_function_never_sees_it(texts):
    def seen(text):
        return np.array([len(cell) < 9 for cell in text])

    place = r"not UTF-8.*field 'text'.*a\.parquet, row group 0, row 1"
    with pytest.raises(DamagedDataError, match=place):
        tps.make_dataset(texts, where=seen, batch_size=10)
    with pytest.raises(tf.errors.OpError, match=place):
        ids_of(tps.make_dataset(texts, transform=lambda columns: columns, batch_size=10))
    good = [i for i in range(100) if i % 5 not in (1, 3)]
    skip = tps.Skip(budget=40)
    assert ids_of(tps.make_dataset(texts, where=seen, on_error=skip, batch_size=10)) == good
    dataset = tps.make_dataset(texts, transform=lambda columns: columns, on_error=skip, batch_size=10)
    assert set(ids_of(dataset)) == set(good)
    assert tps.stats(dataset).skipped_rows == 40

"""Zeros survive: TFX's own route from Parquet makes 0, 0.0, False and "" missing values, and fails on True and bytes.

Both routes are run as TFX runs them, on the same files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfpetastorm as tps
from tests.tfx.generating import generate, schema_of, splits

Field = tps.UnischemaField
SCHEMA = tps.Unischema(
    "Zeros",
    [Field("count", np.int64), Field("price", np.float32), Field("paid", np.bool_), Field("note", np.str_)],
)
ROWS = [
    {"count": 0, "price": 0.0, "paid": False, "note": ""},
    {"count": 7, "price": 1.5, "paid": False, "note": "late"},
    {"count": -1, "price": -0.0, "paid": False, "note": "x"},
]
#: How many of the rows above hold what Python takes for false, by field.
FALSE = {"count": 1, "price": 2, "paid": 3, "note": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zeros")
    with tps.DatasetWriter(folder / "data", SCHEMA) as writer:
        for row in ROWS:
            writer.write(row)
    return folder / "data"


def through_tfx(data: Path, uri: Path) -> list[tf.train.Example]:
    """The examples that TFX makes of Parquet: FileBasedExampleGen with its parquet_executor."""
    from tfx.components import FileBasedExampleGen
    from tfx.components.example_gen.custom_executors import parquet_executor
    from tfx.dsl.components.base import executor_spec

    component = FileBasedExampleGen(
        input_base=str(data),
        input_config=splits(all="*.parquet"),
        output_config=None,
        custom_executor_spec=executor_spec.BeamExecutorSpec(parquet_executor.Executor),
    )
    properties = dict(component.spec.exec_properties) | {"output_config": "{}"}
    generate(component, uri, properties)
    paths = [str(path) for path in sorted(Path(uri, "Split-all").iterdir())]
    records = tf.data.TFRecordDataset(paths, compression_type="GZIP")
    return [tf.train.Example.FromString(record.numpy()) for record in records]


def missing(example: tf.train.Example) -> set[str]:
    return {name for name, feature in example.features.feature.items() if feature.WhichOneof("kind") is None}


def test_tfxs_own_route_loses_them(data: Path, tmp_path: Path) -> None:
    """What is guarded against, so that it is known when it is mended."""
    examples = through_tfx(data, tmp_path / "out")
    lost = {name: sum(name in missing(example) for example in examples) for name in FALSE}
    assert lost == FALSE


def ours(data: Path, tmp_path: Path, **options: Any) -> Any:
    from tfpetastorm.tfx import UnischemaExampleGen

    config = splits(all="*", rest="*")
    return generate(UnischemaExampleGen(str(data), input_config=config, **options), tmp_path / "out")


def by_tfxio(examples: Any, tmp_path: Path) -> dict[str, list[Any]]:
    """What StatisticsGen, Transform and a Trainer see: record batches of the split, and tensors made of them."""
    from tfx_bsl.tfxio import dataset_options

    from tfpetastorm.tfxio import UnischemaTFXIO

    proto = schema_of([examples], tmp_path / "schema")
    tfxio = UnischemaTFXIO(f"{examples.uri}/Split-all/*", schema=proto)
    options = dataset_options.RecordBatchesOptions(batch_size=10, num_epochs=1, shuffle=False)
    (batch,) = tfxio.RecordBatches(options)
    tensors = tfxio.TensorAdapter().ToBatchTensors(batch)
    found = {name: tensor.numpy().tolist() for name, tensor in tensors.items()}
    assert found.keys() == SCHEMA.fields.keys()
    assert batch.to_pydict() == {name: [[value] for value in values] for name, values in found.items()}
    return found


EXPECTED = {
    "count": [0, 7, -1],
    "price": [0.0, 1.5, -0.0],
    "paid": [0, 0, 0],
    "note": [b"", b"late", b"x"],
}


def test_ours_keeps_them(data: Path, tmp_path: Path) -> None:
    found = by_tfxio(ours(data, tmp_path), tmp_path)
    assert found == EXPECTED
    assert np.signbit(found["price"]).tolist() == [False, False, True]


def test_ours_keeps_them_as_lists_for_tfxs_own_components(data: Path, tmp_path: Path) -> None:
    """Read by TFX's own reader of Parquet."""
    import apache_beam as beam
    from apache_beam.testing import util
    from tfx_bsl.tfxio import parquet_tfxio

    examples = ours(data, tmp_path, arrow_lists=True)
    proto = schema_of([examples], tmp_path / "schema")
    stock = parquet_tfxio.ParquetTFXIO(f"{examples.uri}/Split-all/*", schema=proto, telemetry_descriptors=["test"])

    def check(batches: list[pa.RecordBatch]) -> None:
        (batch,) = batches
        assert batch.schema.equals(stock.ArrowSchema())
        tensors = stock.TensorAdapter().ToBatchTensors(batch)
        assert {name: tensor.numpy().tolist() for name, tensor in tensors.items()} == EXPECTED

    with beam.Pipeline(runner="DirectRunner") as pipeline:
        util.assert_that(pipeline | stock.BeamSource(), check)


FATAL = tps.Unischema("Fatal", [Field("blob", np.bytes_), Field("tags", np.bytes_, (None,)), Field("paid", np.bool_)])
VALUES: dict[str, list[Any]] = {
    "blob": [b"\xff\xfe", b"", b"a\x00"],
    "tags": [[b"\x80", b""], [], [b"x"]],
    "paid": [True, False, True],
}


@pytest.mark.parametrize(
    ("name", "error"),
    [("blob", "utf-8"), ("tags", "Value type <class 'bytes'> is not supported"), ("paid", "Value out of range: 1")],
)
def test_values_survive_that_tfxs_own_route_fails_on(tmp_path: Path, name: str, error: str) -> None:
    from tfx_bsl.tfxio import dataset_options

    from tfpetastorm.tfxio import UnischemaTFXIO

    with tps.DatasetWriter(tmp_path / "data", FATAL.create_schema_view([name])) as writer:
        for value in VALUES[name]:
            writer.write({name: value})
    with pytest.raises(Exception, match=error):
        through_tfx(tmp_path / "data", tmp_path / "theirs")
    examples = ours(tmp_path / "data", tmp_path)
    tfxio = UnischemaTFXIO(f"{examples.uri}/Split-all/*", schema=schema_of([examples], tmp_path / "schema"))
    (batch,) = tfxio.RecordBatches(dataset_options.RecordBatchesOptions(batch_size=10, num_epochs=1, shuffle=False))
    assert batch.to_pydict() == {name: [one if isinstance(one, list) else [one] for one in VALUES[name]]}


def test_what_is_missing_stays_missing(tmp_path: Path) -> None:
    """A null is no zero either."""
    table = pa.table({"count": pa.array([0, None, 2]), "note": pa.array(["", None, "x"])})
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "one.parquet")
    examples = ours(tmp_path / "data", tmp_path, arrow_lists=True)
    (path,) = Path(examples.uri, "Split-all").iterdir()
    assert pq.read_table(path).to_pydict() == {"count": [[0], None, [2]], "note": [[b""], None, [b"x"]]}

"""Laws: for any dataset, record batches hold what the rows say, and tensors are one by every way."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.testing.util import assert_that
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder
from tfx_bsl.tfxio.dataset_options import RecordBatchesOptions, TensorFlowDatasetOptions

from tests.tfxio.data import Row, datasets, found, plain_batch, shown, stored_cells, write
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfmd import unischema_to_schema
from tfpetastorm.tfxio import UnischemaTFXIO

Dataset = tuple[Unischema, list[Row]]


def all_batches(io: UnischemaTFXIO, size: int = 3) -> list[pa.RecordBatch]:
    return list(io.RecordBatches(RecordBatchesOptions(size, num_epochs=1, shuffle=False)))


def expected_columns(folder: Path, schema: Unischema, rows: list[Row]) -> dict[str, list[Any]]:
    return {
        field.name: [
            shown(field, row[field.name], cell)
            for row, cell in zip(rows, stored_cells(folder, field.name), strict=True)
        ]
        for field in schema
    }


@settings(max_examples=60)
@given(datasets())
def test_record_batches_hold_what_the_rows_say(dataset: Dataset) -> None:
    schema, rows = dataset
    with tempfile.TemporaryDirectory() as folder:
        io = UnischemaTFXIO(write(Path(folder) / "d", schema, rows))
        table = pa.Table.from_batches(all_batches(io), io.ArrowSchema()).combine_chunks()
        expected = expected_columns(Path(folder) / "d", schema, rows)
    assert table.column_names == list(schema.fields)
    for field in schema:
        assert found(field, table.column(field.name)) == expected[field.name], field
    table.validate(full=True)


@settings(max_examples=40)
@given(datasets())
def test_record_batches_are_those_of_the_same_rows_as_tf_examples(dataset: Dataset) -> None:
    """tfx-bsl's own decoder of tf.Examples, for what tf.Examples can say: lists that are not nested."""
    schema, rows = dataset
    with tempfile.TemporaryDirectory() as folder:
        written = write(Path(folder) / "d", schema, rows)
        batches = all_batches(UnischemaTFXIO(written), len(rows))
        expected = expected_columns(written, schema, rows)
    proto = unischema_to_schema(schema)
    flat = [feature for feature in proto.feature if not feature.HasField("value_counts")]
    decoder = ExamplesToRecordBatchDecoder(schema_pb2.Schema(feature=flat).SerializeToString())
    kinds = {schema_pb2.INT: "int64_list", schema_pb2.FLOAT: "float_list", schema_pb2.BYTES: "bytes_list"}
    examples = []
    for row in range(len(rows)):
        example = tf.train.Example()
        for feature in flat:
            values = expected[feature.name][row]
            if values is not None:
                if schema.fields[feature.name].kind == "decimal":
                    values = batches[0].column(feature.name)[row].as_py()
                one = getattr(example.features.feature[feature.name], kinds[feature.type])
                one.SetInParent()
                one.value.extend(values)
        examples.append(example.SerializeToString())
    decoded = decoder.DecodeBatch(examples)
    for feature in flat:
        ours, theirs = batches[0].column(feature.name), decoded.column(feature.name)
        assert ours.type == theirs.type
        assert ours.equals(theirs), feature.name


def as_of_tf_examples(schema: Unischema) -> schema_pb2.Schema:
    """The proto that TFDV would infer of these rows as tf.Examples: every list is flat, what is open sparse."""
    proto = unischema_to_schema(schema)
    proto.represent_variable_length_as_ragged = False
    for feature in proto.feature:
        feature.ClearField("annotation")
        feature.ClearField("value_counts")
        if feature.HasField("shape"):
            size = math.prod(dim.size for dim in feature.shape.dim)
            del feature.shape.dim[:]
            feature.shape.dim.add(size=size)
    return proto


@settings(max_examples=40)
@given(datasets(), st.booleans(), st.booleans(), st.booleans(), st.integers(1, 4))
def test_the_dataset_has_the_tensors_of_the_record_batches(
    dataset: Dataset, foreign: bool, shuffle: bool, drop: bool, size: int
) -> None:
    schema, rows = dataset
    proto = as_of_tf_examples(schema) if foreign else None
    options: dict[str, Any] = {
        "batch_size": size, "drop_final_batch": drop and size <= len(rows), "num_epochs": 2, "shuffle": shuffle,
        "shuffle_seed": 7,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        io = UnischemaTFXIO(write(Path(folder) / "d", schema, rows), schema=proto)
        adapter = io.TensorAdapter()
        batches = [adapter.ToBatchTensors(batch) for batch in io.RecordBatches(RecordBatchesOptions(**options))]
        made = io.TensorFlowDataset(TensorFlowDatasetOptions(**options))
        if options["drop_final_batch"]:
            # The size of batches is known then, and said where it can be.
            specs = adapter.TypeSpecs()
            assert all(specs[name].is_compatible_with(one) for name, one in made.element_spec.items())
        else:
            assert made.element_spec == adapter.TypeSpecs()
        elements = list(made)
    assert list(map(plain_batch, elements)) == list(map(plain_batch, batches))


@settings(max_examples=4)
@given(datasets(most_fields=30))
def test_beam_reads_the_same_rows(dataset: Dataset) -> None:
    schema, rows = dataset
    with tempfile.TemporaryDirectory() as folder:
        io = UnischemaTFXIO(write(Path(folder) / "d", schema, rows))
        expected = sorted(repr(row) for batch in all_batches(io) for row in batch.to_pylist())

        def check(batches: list[pa.RecordBatch]) -> None:
            assert all(batch.schema.equals(io.ArrowSchema()) for batch in batches)
            assert sorted(repr(row) for batch in batches for row in batch.to_pylist()) == expected

        with beam.Pipeline() as pipeline:
            assert_that(pipeline | io.BeamSource(), check)


def test_each_epoch_has_an_order_of_its_own_and_a_seed_repeats_it(tmp_path: Path) -> None:
    from tfpetastorm.schema.field import UnischemaField as Field

    io = UnischemaTFXIO(write(tmp_path / "d", Unischema("S", [Field("i", np.int64)]), [{"i": i} for i in range(40)], 5))
    options = TensorFlowDatasetOptions(40, num_epochs=2, shuffle_seed=1, label_key="i")
    first, second = (label.numpy().tolist() for _, label in io.TensorFlowDataset(options))
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second
    assert first != list(range(40))
    assert [label.numpy().tolist() for _, label in io.TensorFlowDataset(options)] == [first, second]

"""The schema proto decides how rows are shown: curated ones, those that TFDV infers, and what contradicts the data."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.tfxio.dataset_options import RecordBatchesOptions, TensorFlowDatasetOptions

from tests.tfxio.data import plain_batch, write
from tfpetastorm.errors import OptionError, SchemaMismatchError, TfpetastormError
from tfpetastorm.schema.codecs import CompressedImageCodec, NdarrayCodec
from tfpetastorm.schema.field import UnischemaField as Field
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfmd import unischema_to_schema
from tfpetastorm.tfxio import UnischemaTFXIO

SCHEMA = Unischema(
    "Trips",
    [
        Field("hour", np.int8),
        Field("fare", np.float64, nullable=True),
        Field("pay", np.str_),
        Field("at", np.float32, (2, 3), NdarrayCodec()),
        Field("tags", np.str_, (None,)),
        Field("way", np.int16, (None, 2), NdarrayCodec(), True),
        Field("photo", np.uint8, (4, 4, 3), CompressedImageCodec("png")),
        Field("price", Decimal),
    ],
)


def rows(count: int = 7) -> list[dict[str, Any]]:
    return [
        {
            "hour": i,
            "fare": None if i % 3 == 1 else i / 4,
            "pay": "" if i == 0 else f"p{i}",
            "at": np.arange(6, dtype=np.float32).reshape(2, 3) * i,
            "tags": np.array([f"t{k}" for k in range(i % 3)], np.str_),
            "way": None if i % 4 == 2 else np.arange(2 * (i % 3), dtype=np.int16).reshape(-1, 2),
            "photo": np.full((4, 4, 3), i, np.uint8),
            "price": Decimal(i).scaleb(-2),
        }
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def trips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("trips") / "d", SCHEMA, rows())


def proto_of(text: str) -> schema_pb2.Schema:
    return text_format.Parse(text, schema_pb2.Schema())


def both(io: UnischemaTFXIO) -> dict[str, Any]:
    """All rows as tensors by the adapter, which the dataset has to have too."""
    (element,) = io.TensorFlowDataset(TensorFlowDatasetOptions(100, num_epochs=1, shuffle=False))
    (batch,) = io.RecordBatches(RecordBatchesOptions(100, num_epochs=1, shuffle=False))
    adapted = io.TensorAdapter().ToBatchTensors(batch)
    assert plain_batch(element) == plain_batch(adapted)
    return dict(element)


def test_a_schema_as_tfdv_infers_it(trips: Path) -> None:
    """Of tf.Examples it knows flat lists only, and calls what is always one value `dim { size: 1 }`."""
    proto = proto_of(
        """
        feature { name: "hour" type: INT presence { min_fraction: 1.0 } shape { dim { size: 1 } } }
        feature { name: "fare" type: FLOAT value_count { min: 1 max: 1 } presence { min_count: 1 } }
        feature { name: "at" type: FLOAT presence { min_fraction: 1.0 } shape { dim { size: 6 } } }
        feature { name: "way" type: INT value_count { min: 1 } presence { min_count: 1 } }
        feature { name: "pay" type: BYTES domain: "pay" presence { min_fraction: 1.0 } shape { dim { size: 1 } } }
        string_domain { name: "pay" value: "p1" }
        """
    )
    tensors = both(UnischemaTFXIO(str(trips), schema=proto))
    assert list(tensors) == ["hour", "fare", "at", "way", "pay"]
    assert tensors["hour"].shape == (7, 1)
    assert tensors["at"].numpy()[2].tolist() == [0, 2, 4, 6, 8, 10]
    assert isinstance(tensors["fare"], tf.SparseTensor)
    assert tf.sparse.to_dense(tensors["fare"]).numpy()[:, 0].tolist() == [0, 0, 0.5, 0.75, 0, 1.25, 1.5]
    assert tensors["fare"].indices.numpy()[:, 0].tolist() == [0, 2, 3, 5, 6]
    assert tf.sparse.to_dense(tensors["way"])[5].numpy().tolist() == [0, 1, 2, 3]


def test_shape_fixes_what_is_stored_open(trips: Path, tmp_path: Path) -> None:
    schema = Unischema("S", [Field("way", np.int16, (None, 2), None, True)])
    proto = unischema_to_schema(schema)
    proto.feature[0].ClearField("value_counts")
    proto.feature[0].shape.dim.add(size=2)
    proto.feature[0].shape.dim.add(size=2)
    proto.feature[0].presence.min_fraction = 1.0
    way = np.arange(4, dtype=np.int16).reshape(2, 2)
    tensors = both(UnischemaTFXIO(str(write(tmp_path / "d", schema, [{"way": way}] * 3)), schema=proto))
    assert tensors["way"].numpy().tolist() == [way.tolist()] * 3
    io = UnischemaTFXIO(str(trips), schema=proto)
    with pytest.raises(tf.errors.InvalidArgumentError, match="feature way is missing in a row"):
        list(io.TensorFlowDataset(TensorFlowDatasetOptions(10, num_epochs=1)))
    with pytest.raises(ValueError, match="way"):
        list(map(io.TensorAdapter().ToBatchTensors, io.RecordBatches(RecordBatchesOptions(10, num_epochs=1))))


def test_default_values_fill_missing_rows_of_dense_tensors(trips: Path) -> None:
    proto = proto_of(
        """
        feature { name: "fare" type: FLOAT }
        feature { name: "way" type: INT }
        feature { name: "elsewhere" type: BYTES }
        tensor_representation_group { key: "" value {
          tensor_representation { key: "fare" value { dense_tensor {
            column_name: "fare" shape {} default_value { float_value: -1.5 } } } }
          tensor_representation { key: "pairs" value { ragged_tensor {
            feature_path { step: "way" } partition { uniform_row_length: 2 } row_partition_dtype: INT32 } } }
          tensor_representation { key: "elsewhere" value { dense_tensor {
            column_name: "elsewhere" shape { dim { size: 2 } } default_value { bytes_value: "x" } } } }
        } }
        """
    )
    tensors = both(UnischemaTFXIO(str(trips), schema=proto))
    assert tensors["fare"].numpy().tolist() == [0, -1.5, 0.5, 0.75, -1.5, 1.25, 1.5]
    assert tensors["pairs"].to_list()[5] == [[0, 1], [2, 3]]
    assert tensors["elsewhere"].numpy().tolist() == [[b"x", b"x"]] * 7


def test_tensors_of_several_columns(trips: Path) -> None:
    """Left to tfx-bsl's adapter, in the dataset too."""
    proto = proto_of(
        """
        feature { name: "hour" type: INT int_domain { min: 0 max: 9 } }
        feature { name: "fare" type: FLOAT }
        feature { name: "pay" type: BYTES presence { min_fraction: 1.0 } shape {} }
        sparse_feature { name: "both" index_feature { name: "hour" } value_feature { name: "hours" } }
        feature { name: "hours" type: INT }
        """
    )
    io = UnischemaTFXIO(str(trips), schema=proto)
    proto.feature[3].name = "pay2"
    assert set(io.TensorAdapter().TypeSpecs()) == {"both", "fare", "pay"}
    options = TensorFlowDatasetOptions(3, num_epochs=1, shuffle=True, shuffle_seed=5, label_key="pay")
    batches = io.RecordBatches(RecordBatchesOptions(3, num_epochs=1, shuffle=True, shuffle_seed=5))
    with pytest.raises(ValueError, match="both"):
        list(map(io.TensorAdapter().ToBatchTensors, batches))
    same = proto_of(
        """
        feature { name: "hour" type: INT int_domain { min: 0 max: 9 } }
        feature { name: "hour2" type: INT }
        feature { name: "pay" type: BYTES presence { min_fraction: 1.0 } shape {} }
        tensor_representation_group { key: "" value {
          tensor_representation { key: "both" value { sparse_tensor {
            dense_shape { dim { size: 10 } } index_column_names: "hour" value_column_name: "hour" } } } } }
        """
    )
    io = UnischemaTFXIO(str(trips), schema=same)
    batches = io.RecordBatches(RecordBatchesOptions(3, num_epochs=1, shuffle=True, shuffle_seed=5))
    for batch, (features, label) in zip(batches, io.TensorFlowDataset(options), strict=True):
        assert plain_batch({**features, "pay": label}) == plain_batch(io.TensorAdapter().ToBatchTensors(batch))
        assert features["both"].indices.shape == (batch.num_rows, 2)


def test_features_that_only_one_side_has(trips: Path) -> None:
    proto = unischema_to_schema(SCHEMA)
    kept = [feature for feature in proto.feature if feature.name in ("hour", "tags")]
    proto.ClearField("feature")
    proto.feature.add(name="new", type=schema_pb2.FLOAT)
    proto.feature.add(name="newer", type=schema_pb2.INT).value_counts.value_count.add(min=0)
    proto.feature[1].value_counts.value_count.add(min=0)
    proto.feature.extend(kept)
    io = UnischemaTFXIO(str(trips), schema=proto)
    assert io.ArrowSchema().names == ["new", "newer", "hour", "tags"]
    tensors = both(io)
    assert tensors["new"].to_list() == [[]] * 7
    assert tensors["newer"].to_list() == [[]] * 7
    assert tensors["newer"].shape.as_list() == [7, None, None]
    only = proto_of('feature { name: "new" type: BYTES }')
    assert tf.sparse.to_dense(both(UnischemaTFXIO(str(trips), schema=only))["new"]).shape == (7, 0)
    only.feature[0].shape.SetInParent()
    only.feature[0].presence.min_fraction = 1
    with pytest.raises(SchemaMismatchError, match=r"lacks a feature.*field 'new'"):
        UnischemaTFXIO(str(trips), schema=only).TensorFlowDataset(TensorFlowDatasetOptions(3))


@pytest.mark.parametrize(
    ("feature", "says"),
    [
        ('name: "hour" type: FLOAT', r"field 'hour'.*expected FLOAT, found INT.*Make the feature's type INT"),
        ('name: "photo" type: INT', r"field 'photo'.*expected INT, found BYTES"),
        (
            'name: "at" type: FLOAT shape { dim { size: 5 } }',
            r"field 'at'.*shape \(5,\), found FLOAT of shape \(2, 3\)",
        ),
        (
            'name: "way" type: INT value_counts { value_count {} value_count {} value_count {} }',
            r"field 'way'.*nested 3 deep",
        ),
        ('name: "gone"', r"field 'gone'.*no such column"),
        ('name: "hour" type: INT } feature { name: "hour" type: INT', r"several features of one name \(field 'hour'"),
    ],
)
def test_contradictions_name_the_feature_both_types_and_what_to_do(trips: Path, feature: str, says: str) -> None:
    with pytest.raises(SchemaMismatchError, match=says):
        UnischemaTFXIO(str(trips), schema=proto_of(f"feature {{ {feature} }}"))


def test_lists_in_lists_are_ragged_or_nothing(trips: Path) -> None:
    proto = unischema_to_schema(SCHEMA)
    proto.represent_variable_length_as_ragged = False
    io = UnischemaTFXIO(str(trips), schema=proto)
    assert io.ArrowSchema().names == list(SCHEMA.fields)
    with pytest.raises(SchemaMismatchError, match=r"\(field 'way'\)\. Set represent_variable_length_as_ragged"):
        io.TensorAdapter()


def test_values_that_tfx_cannot_hold_are_named(tmp_path: Path) -> None:
    schema = Unischema("S", [Field("big", np.uint64), Field("when", "datetime64[s]", (2,), NdarrayCodec())])
    moment = np.datetime64(5, "s")
    given = [{"big": np.uint64(i), "when": np.array([moment, moment])} for i in range(5)]
    given[3]["big"] = np.uint64(2**63)
    io = UnischemaTFXIO(str(write(tmp_path / "d", schema, given)), column_names=["big"])
    with pytest.raises(TfpetastormError, match=r"field 'big'.*row group 1, row 1\).*found 9223372036854775808"):
        from apache_beam import Pipeline

        with Pipeline() as pipeline:
            pipeline | io.BeamSource()
    beyond = r"feature big has an integer that int64 does not hold; the row.*in the batch:\] \[1\]"
    with pytest.raises(tf.errors.InvalidArgumentError, match=beyond):
        list(io.TensorFlowDataset(TensorFlowDatasetOptions(2, num_epochs=1, shuffle=False)))
    given[4]["when"][1] = np.datetime64("NaT")
    io = UnischemaTFXIO(str(write(tmp_path / "e", schema, given)), column_names=["when"])
    with pytest.raises(TfpetastormError, match=r"field 'when', row 4\).*NaT"):
        list(io.RecordBatches(RecordBatchesOptions(5, num_epochs=1, shuffle=False)))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"feature when has a NaT.*in the batch:\] \[4\]"):
        list(io.TensorFlowDataset(TensorFlowDatasetOptions(5, num_epochs=1, shuffle=False)))


def test_nat_is_missing(tmp_path: Path) -> None:
    kinds = [("m", "datetime64[ms]"), ("d", "datetime64[D]")]
    schema = Unischema("S", [Field(name, kind, (), NdarrayCodec(), nulls) for name, kind in kinds for nulls in [True]])
    given = [
        {name: None if i == 0 else np.array("NaT" if i == 1 else i, kind) for name, kind in kinds} for i in range(3)
    ]
    tensors = both(UnischemaTFXIO(str(write(tmp_path / "d", schema, given))))
    assert tensors["m"].to_list() == tensors["d"].to_list() == [[], [], [2]]


def test_a_stored_time_that_numpy_takes_for_nat_is_missing_too(tmp_path: Path) -> None:
    least = np.iinfo(np.int64).min
    pq.write_table(pa.table({"m": pa.array([least, None, 5], pa.timestamp("us"))}), tmp_path / "x.parquet")
    assert both(UnischemaTFXIO(tmp_path))["m"].to_list() == [[], [], [5]]
    lists = pa.array([[5], [7, least]], pa.list_(pa.timestamp("us")))
    pq.write_table(pa.table({"m": lists}), tmp_path / "x.parquet")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"feature m has a NaT.*in the batch:\] \[1\]"):
        both(UnischemaTFXIO(tmp_path))


def test_days_in_lists_that_are_nat_are_refused_and_others_are_kept(tmp_path: Path) -> None:
    schema = Unischema("S", [Field("d", "datetime64[D]", (2,), NdarrayCodec())])
    days = [np.array(["1969-12-31", "2026-11-23"], "datetime64[D]"), np.array(["1970-01-01", "NaT"], "datetime64[D]")]
    io = UnischemaTFXIO(write(tmp_path / "d", schema, [{"d": days[0]}]))
    assert both(io)["d"].numpy().tolist() == [[-1, 20780]]
    io = UnischemaTFXIO(write(tmp_path / "e", schema, [{"d": one} for one in days]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"feature d has a NaT.*in the batch:\] \[1\]"):
        list(io.TensorFlowDataset(TensorFlowDatasetOptions(5, num_epochs=1, shuffle=False)))


def test_masks_of_nulls_are_not_confused_with_fields(tmp_path: Path) -> None:
    schema = Unischema("S", [Field("a", np.int32, (), None, True), Field("a_valid", np.int32, (), None, True)])
    given = [{"a": None if i % 2 else i, "a_valid": None if i % 3 else i} for i in range(6)]
    tensors = both(UnischemaTFXIO(str(write(tmp_path / "d", schema, given))))
    assert tensors["a"].to_list() == [[0], [], [2], [], [4], []]
    assert tensors["a_valid"].to_list() == [[0], [], [], [3], [], []]


def test_disabled_features_are_columns_and_no_tensors(trips: Path) -> None:
    proto = unischema_to_schema(SCHEMA)
    for feature in proto.feature[1:]:
        feature.lifecycle_stage = schema_pb2.DISABLED
    io = UnischemaTFXIO(str(trips), schema=proto)
    assert io.ArrowSchema().names == list(SCHEMA.fields)
    assert list(both(io)) == ["hour"]


def test_projecting_keeps_the_order_and_reads_only_what_is_asked(trips: Path) -> None:
    io = UnischemaTFXIO(str(trips), column_names=["pay", "hour", "at"])
    assert io.ArrowSchema().names == ["hour", "pay", "at"]
    projected = io.Project(["at", "hour"])
    assert projected.ArrowSchema().names == ["hour", "at"]
    assert projected.TensorAdapter().OriginalTypeSpecs() == io.TensorAdapter().TypeSpecs()
    batch = next(projected.RecordBatches(RecordBatchesOptions(4, shuffle=False)))
    assert batch.schema == pa.schema([("hour", pa.large_list(pa.int64())), ("at", pa.large_list(pa.float32()))])
    (element,) = projected.TensorFlowDataset(TensorFlowDatasetOptions(9, num_epochs=1)).map(sorted_names)
    assert element.numpy().tolist() == [b"at", b"hour"]
    with pytest.raises(OptionError, match="column_names has \\['no'\\]"):
        UnischemaTFXIO(str(trips), column_names=["no"])


def sorted_names(tensors: dict[str, Any]) -> Any:
    return tf.constant(sorted(tensors))

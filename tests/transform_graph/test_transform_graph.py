"""`apply_transform_graph` and `TransformGraph`, by TensorFlow alone: what datasets give becomes what a graph takes."""

from __future__ import annotations

import datetime as dt
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpetastorm as tps
from tests.transform_graph.graphs import INPUTS, write_graph
from tfpetastorm.errors import DatasetNotFoundError, OptionError, SchemaMismatchError
from tfpetastorm.tfx import TransformGraph, apply_transform_graph

Field = tps.UnischemaField
SCHEMA = tps.Unischema(
    "Raw",
    [
        Field("small", np.int8),
        Field("flag", np.bool_),
        Field("wide", np.float64),
        Field("day", dt.date),
        Field("city", np.str_),
        Field("grid", np.float16, (2, 2), tps.NdarrayCodec()),
        Field("maybe", np.uint16, nullable=True),
        Field("note", np.str_, nullable=True),
        Field("pair", np.float32, (2,), tps.NdarrayCodec(), True),
        Field("steps", np.int32, (None,)),
        Field("track", np.float32, (None, 2), tps.NdarrayCodec()),
        Field("target", np.float32),
        Field("other", np.int64),
        Field("number", np.int32, nullable=True),
    ],
)
ROWS = [
    {
        "small": number - 3,
        "flag": number % 2 == 0,
        "wide": number / 2,
        "day": dt.date(1970, 1, 1) + dt.timedelta(number - 1),
        "city": ["bonn", "", "oslo"][number % 3],
        "grid": np.full((2, 2), number, np.float16),
        "maybe": None if number % 3 == 0 else number,
        "note": None if number % 2 else "n" * number,
        "pair": None if number == 4 else np.float32([number, -number]),
        "steps": np.arange(number % 4, dtype=np.int32),
        "track": np.full((number % 3, 2), number, np.float32),
        "target": float(number),
        "other": number,
        "number": None if number % 3 == 0 else number,
    }
    for number in range(9)
]
WITHOUT_PHOTO = [
    "city_id", "day", "flag", "grid", "maybe", "note", "pair", "small", "steps", "sum", "target", "track",
    "two", "wide_c",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "data"
    with tps.DatasetWriter(folder, SCHEMA, row_group_rows=4) as writer:
        for row in ROWS:
            writer.write(row)
    return folder


@pytest.fixture(scope="module", params=["concrete", "function"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graph(tmp_path_factory.mktemp("graph") / "graph", concrete=request.param == "concrete")


@pytest.fixture(scope="module")
def graph(path: Path) -> TransformGraph:
    return TransformGraph(path)


def raw(data: Path, **options: Any) -> tf.data.Dataset:
    return tps.make_dataset(data, **{"batch_size": 4, "nulls": "mask"} | options)


def lists(dataset: Any, name: str) -> list[Any]:
    """A feature's cells as Python's lists and numbers."""
    cells: list[Any] = []
    for element in dataset:
        tensor = element[name]
        if isinstance(tensor, tf.SparseTensor):
            tensor = tf.RaggedTensor.from_sparse(tensor)
        cells += tensor.to_list() if isinstance(tensor, tf.RaggedTensor) else tensor.numpy().tolist()
    return cells


def test_fields_become_what_the_graph_takes(data: Path, path: Path) -> None:
    dataset = apply_transform_graph(raw(data), path, outputs=WITHOUT_PHOTO)
    assert sorted(dataset.element_spec) == WITHOUT_PHOTO
    assert int(dataset.cardinality()) == 3
    for name in ("small", "flag", "day", "grid", "maybe", "pair", "steps", "track"):
        assert dataset.element_spec[name].dtype == INPUTS[name].dtype
    expected = {
        "small": [row["small"] for row in ROWS],
        "flag": [int(row["flag"]) for row in ROWS],
        "day": [-1, 0, 1, 2, 3, 4, 5, 6, 7],
        "wide_c": [row["wide"] - 2 for row in ROWS],
        "city_id": [1, -1, 0] * 3,
        "grid": [row["grid"].tolist() for row in ROWS],
        "maybe": [[] if row["maybe"] is None else [row["maybe"]] for row in ROWS],
        "note": [[] if row["note"] is None else [row["note"].encode()] for row in ROWS],
        "pair": [[] if row["pair"] is None else row["pair"].tolist() for row in ROWS],
        "steps": [row["steps"].tolist() for row in ROWS],
        "track": [row["track"].tolist() for row in ROWS],
        "sum": [row["wide"] + int(row["steps"].sum()) for row in ROWS],
        "target": [row["target"] * 10 for row in ROWS],
        "two": [2.0] * 9,
    }
    assert {name: lists(dataset, name) for name in WITHOUT_PHOTO} == expected


def test_what_is_exactly_as_the_graph_takes_it_passes(graph: TransformGraph) -> None:
    """Such as UnischemaTFXIO gives it, sparse tensors too; eagerly, and arrays as well."""
    note = tf.sparse.from_dense([["a", "b"], ["c", ""]])
    assert graph({"note": note}, ["note"])["note"] is not note
    assert tf.sparse.to_dense(graph({"note": note}, "note")["note"]).numpy().tolist() == [[b"a", b"b"], [b"c", b""]]
    assert graph({"wide": np.float64([1, 2])}, ["wide_c"])["wide_c"].numpy().tolist() == [-1.0, 0.0]
    ragged = tf.ragged.constant([[1], [], [2, 3]], dtype=tf.int64)
    assert graph({"steps": ragged}, ["steps"])["steps"].to_list() == [[1], [], [2, 3]]


def test_only_what_the_outputs_are_made_of_has_to_be_there(data: Path, graph: TransformGraph) -> None:
    assert graph.needs(["sum", "city_id"]) == ["city", "steps", "wide"]
    assert graph.needs() == sorted(INPUTS)
    assert graph.inputs.keys() == INPUTS.keys()
    assert sorted([*WITHOUT_PHOTO, "photo_size"]) == list(graph.outputs)
    some = apply_transform_graph(raw(data, fields=["wide", "steps", "city"]), graph, outputs=["sum", "city_id"])
    assert list(apply_transform_graph(raw(data), graph, outputs="sum").element_spec) == ["sum"]
    with pytest.raises(OptionError, match="outputs names nothing"):
        apply_transform_graph(raw(data), graph, outputs=[])
    assert lists(some, "city_id") == [1, -1, 0] * 3
    assert lists(some, "sum") == [row["wide"] + int(row["steps"].sum()) for row in ROWS]
    with pytest.raises(
        SchemaMismatchError,
        match=r"outputs \['sum'\] are made of a feature that is missing \(field 'steps'.*"
        r"expected the features \['steps', 'wide'\], found \['wide'\]. Read it too",
    ):
        apply_transform_graph(raw(data, fields=["wide"]), graph, outputs=["sum"])
    with pytest.raises(OptionError, match=r"outputs names \['gone'\]; the Transform graph has the outputs \['city_id'"):
        apply_transform_graph(raw(data), graph, outputs=["gone"])
    with pytest.raises(SchemaMismatchError, match=r"outputs .* are made of a feature that is missing"):
        apply_transform_graph(raw(data, fields=["other"]), graph)


def test_a_label_is_an_output_or_else_a_field(data: Path, graph: TransformGraph) -> None:
    (features, label), *_ = apply_transform_graph(raw(data), graph, label="target", outputs=["wide_c"])
    assert list(features) == ["wide_c"]
    assert label.numpy().tolist() == [0, 10, 20, 30]
    (features, label), *_ = apply_transform_graph(raw(data), graph, label="other", outputs=["wide_c", "city_id"])
    assert sorted(features) == ["city_id", "wide_c"]
    assert label.dtype == tf.int64
    assert label.numpy().tolist() == [0, 1, 2, 3]
    with pytest.raises(OptionError, match="label='gone' is neither an output of the Transform graph"):
        apply_transform_graph(raw(data), graph, label="gone", outputs=["wide_c"])


def test_a_label_that_is_missing_in_a_row_is_no_number(data: Path, graph: TransformGraph) -> None:
    """What a masked field holds where it is null must not be learned. Its mask is not among the outputs."""
    whole = [("number", ">", 0)]
    for options, label in (({}, "number"), ({"label": "number"}, None), ({"label": ["number"]}, None)):
        passed = apply_transform_graph(raw(data, where=whole, **options), graph, label=label, outputs=["wide_c"])
        assert tf.nest.flatten([label for _, label in passed])[0].numpy().tolist() == [1, 2, 4, 5]
        with pytest.raises(tf.errors.InvalidArgumentError, match="label number is missing in a row"):
            list(apply_transform_graph(raw(data, **options), graph, label=label, outputs=["wide_c"]))
    no_mask = raw(data, label="other").map(lambda features, label: (features | {"in_valid": features["city"]}, label))
    assert len(list(apply_transform_graph(no_mask, graph, outputs=["wide_c"]))) == 3


def test_pairs_keep_their_labels(data: Path, graph: TransformGraph) -> None:
    pairs = raw(data, label="target")
    (features, label), *_ = apply_transform_graph(pairs, graph, outputs=["wide_c"])
    assert list(features) == ["wide_c"]
    assert label.numpy().tolist() == [0, 1, 2, 3]  # as it is
    (features, label), *_ = apply_transform_graph(pairs, graph, label="target", outputs=["wide_c"])
    assert list(features) == ["wide_c"]
    assert label.numpy().tolist() == [0, 10, 20, 30]
    (features, labels), *_ = apply_transform_graph(raw(data, label=["target", "other"]), graph, outputs=["wide_c"])
    assert labels["target"].numpy().tolist() == [0, 10, 20, 30]
    assert labels["other"].numpy().tolist() == [0, 1, 2, 3]
    with pytest.raises(SchemaMismatchError, match="if it is the label, name it by label="):
        apply_transform_graph(pairs, graph, outputs=["two"])
    with pytest.raises(OptionError, match="label='other' should name the one label tensor"):
        apply_transform_graph(pairs, graph, label="other", outputs=["wide_c"])


def test_weights_pass(data: Path, graph: TransformGraph) -> None:
    padded = raw(data, label="target", shard=(0, 2), even="pad", batch_size=4, shuffle=True, seed=1, epoch=0)
    *_, (features, label, weight) = apply_transform_graph(padded, graph, outputs=["wide_c"])
    *_, (wanted, same, weights) = padded
    assert features["wide_c"].numpy().tolist() == (wanted["wide"].numpy() - 2).tolist()
    assert label.numpy().tolist() == same.numpy().tolist()
    assert weight.numpy().tolist() == weights.numpy().tolist()


def test_it_prepares_datasets_for_fit(data: Path, graph: TransformGraph, tmp_path: Path) -> None:
    """Which remembers positions in the data, and hands out the dataset from there."""

    def trained(epochs: int, folder: str) -> Any:
        keras.utils.set_random_seed(1)
        inputs = {"wide_c": keras.Input((), name="wide_c")}
        model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Reshape((1,))(inputs["wide_c"])))
        model.compile("sgd", "mse")
        dataset = raw(data, fields=["wide", "target"], shuffle=True, seed=3)
        tps.keras.fit(
            model,
            dataset,
            epochs=epochs,
            directory=tmp_path / folder,
            verbose=0,
            prepare=lambda made: apply_transform_graph(made, graph, label="target", outputs=["wide_c"]),
        )
        return model

    trained(1, "interrupted")
    np.testing.assert_array_equal(trained(3, "interrupted").get_weights()[0], trained(3, "whole").get_weights()[0])


def test_vocabularies_live_as_long_as_an_iterator(data: Path, path: Path) -> None:
    def batches() -> Iterator[Any]:
        return iter(apply_transform_graph(raw(data), path, outputs=["city_id"]).prefetch(1))

    iterator = batches()
    gc.collect()
    assert [batch["city_id"].numpy().tolist() for batch in iterator] == [[1, -1, 0, 1], [-1, 0, 1, -1], [0]]


def test_elements_that_are_no_batches_of_features_are_refused(data: Path, graph: TransformGraph) -> None:
    with pytest.raises(
        SchemaMismatchError, match=r"takes batches \(field 'wide'.*found single rows. Give make_dataset"
    ):
        apply_transform_graph(raw(data, batch_size=None), graph, outputs=["wide_c"])
    windows = raw(data, ngram=tps.NGram({0: ["small"], 1: ["wide"]}, delta_threshold=5, timestamp_field="other"))
    with pytest.raises(OptionError, match="takes features by name: elements of the dataset should be dicts"):
        apply_transform_graph(windows, graph)
    with pytest.raises(OptionError, match="takes features by name"):
        apply_transform_graph(tf.data.Dataset.range(3).batch(2), graph)


def test_what_can_not_become_what_the_graph_takes_names_the_field(data: Path, graph: TransformGraph) -> None:
    images = tf.zeros([3, 4, 4, 3], tf.uint8)
    with pytest.raises(
        SchemaMismatchError, match=r"images in their encoding \(field 'photo'.*with_data_accessor and UnischemaTFXIO"
    ):
        graph({"photo": images}, ["photo_size"])
    with pytest.raises(SchemaMismatchError, match=r"\(field 'city'\)"):
        graph({"city": [1, 2]}, ["city_id"])
    with pytest.raises(SchemaMismatchError, match=r"lists as long as they are \(field 'steps'.*without padding"):
        apply_transform_graph(raw(data, ragged="pad"), graph, outputs=["steps"])
    shapeless = raw(data).map(lambda row: {"wide": tf.py_function(lambda one: one, [row["wide"]], tf.float64)})
    with pytest.raises(SchemaMismatchError, match=r"tensors of known rank \(field 'wide'.*by tf.ensure_shape"):
        apply_transform_graph(shapeless, graph, outputs=["wide_c"])
    missing = {"wide": tf.zeros([2]), "wide_valid": tf.constant([True, False])}
    with pytest.raises(tf.errors.InvalidArgumentError, match="feature wide is missing in a row"):
        graph(missing, ["wide_c"])


def test_there_has_to_be_a_graph(tmp_path: Path, path: Path) -> None:
    with pytest.raises(
        DatasetNotFoundError, match=r"There is no Transform graph \(file .*expected a folder transform_fn"
    ):
        TransformGraph(tmp_path / "nothing")
    tf.saved_model.save(tf.Module(), str(tmp_path / "model"))
    with pytest.raises(OptionError, match=r"no Transform graph \(file .*signatures \[\]. Give the URI of Transform's"):
        TransformGraph(tmp_path / "model")
    old = tf.Module()
    old.function = tf.function(lambda: {"one": tf.constant(1)}, input_signature=[])
    tf.saved_model.save(old, str(tmp_path / "old" / "transform_fn"), {"transform_signature": old.function})
    with pytest.raises(OptionError, match="Leave force_tf_compat_v1 out of Transform"):
        TransformGraph(tmp_path / "old")
    assert TransformGraph(path / "transform_fn").needs(["city_id"]) == ["city"]

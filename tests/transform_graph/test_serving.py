"""`export_with_transform`: a Keras model behind a Transform graph takes raw features, in each of its signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.transform_graph.graphs import write_graph
from tfpetastorm.errors import OptionError
from tfpetastorm.tfx import TransformGraph, export_with_transform


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> TransformGraph:
    return TransformGraph(write_graph(tmp_path_factory.mktemp("graph") / "graph"))


def exported(model: Any, graph: TransformGraph, folder: Path, **options: Any) -> Any:
    export_with_transform(model, graph, folder, **options)
    return tf.saved_model.load(str(folder))


def functional(outputs: Any = None) -> Any:
    """Of two transformed features: twice their sum."""
    inputs = {"wide_c": keras.Input((), name="wide_c"), "city_id": keras.Input((), name="city_id", dtype="int64")}
    stacked = keras.ops.stack([inputs["wide_c"], keras.ops.cast(inputs["city_id"], "float32")], axis=1)
    doubled = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(2.0))(stacked)
    return keras.Model(inputs, doubled if outputs is None else outputs(doubled))


def test_raw_features_become_predictions(graph: TransformGraph, tmp_path: Path) -> None:
    served = exported(functional(), graph, tmp_path / "model")
    assert sorted(served.signatures) == ["serving_default", "serving_tf_examples", "transform_features"]
    raw = {"wide": tf.constant([3.0, 0.0]), "city": tf.constant(["bonn", "rome"])}
    assert sorted(served.signatures["serving_default"].structured_input_signature[1]) == ["city", "wide"]
    assert served.signatures["serving_default"](**raw)["outputs"].numpy().tolist() == [[4.0], [-6.0]]
    assert served.serve(raw)["outputs"].numpy().tolist() == [[4.0], [-6.0]]
    features = served.signatures["transform_features"](**raw)
    assert {name: tensor.numpy().tolist() for name, tensor in features.items()} == {
        "wide_c": [1.0, -2.0], "city_id": [1, -1],
    }  # fmt: skip
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "wide": tf.train.Feature(float_list=tf.train.FloatList(value=[wide])),
                    "city": tf.train.Feature(bytes_list=tf.train.BytesList(value=[city])),
                }
            )
        ).SerializeToString()
        for wide, city in ((3.0, b"bonn"), (0.0, b"rome"))
    ]
    found = served.signatures["serving_tf_examples"](examples=tf.constant(examples))
    assert found["outputs"].numpy().tolist() == [[4.0], [-6.0]]


class OfLists(keras.Model):
    """Takes what Keras itself can't: ragged and sparse features; has a vocabulary of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.lookup = keras.layers.StringLookup(vocabulary=["n", "m"], num_oov_indices=1)

    def call(self, features: dict[str, Any], training: bool = False) -> Any:
        note = tf.sparse.to_dense(features["note"], default_value="")
        known = tf.reduce_sum(self.lookup(note), axis=1)
        counts = features["maybe"].row_lengths() + 10 * features["steps"].row_lengths()
        return {"known": known, "counts": counts}


def test_nulls_and_lists_are_said_by_their_lengths(graph: TransformGraph, tmp_path: Path) -> None:
    model = OfLists()
    served = exported(model, graph, tmp_path / "model", features=["maybe", "steps", "note"])
    raw = {
        "maybe": tf.ragged.constant([[0], []], dtype=tf.int64),
        "steps": tf.ragged.constant([[], [5, 6]], dtype=tf.int64),
        "note": tf.SparseTensor([[0, 0]], ["m"], [2, 1]),
    }
    expected = {"known": [2, 0], "counts": [1, 20]}
    assert {name: tensor.numpy().tolist() for name, tensor in served.serve(raw).items()} == expected
    padded = {
        "maybe": tf.constant([[0], [99]], tf.int64), "maybe_length": tf.constant([1, 0], tf.int64),
        "steps": tf.constant([[7, 7], [5, 6]], tf.int64), "steps_length": tf.constant([0, 2], tf.int64),
        "note": tf.constant([["m"], ["?"]]), "note_length": tf.constant([1, 0], tf.int64),
    }  # fmt: skip
    found = served.signatures["serving_default"](**padded)
    assert {name: tensor.numpy().tolist() for name, tensor in found.items()} == expected
    features = served.signatures["transform_features"](**padded)
    assert features["maybe_length"].numpy().tolist() == [1, 0]
    assert features["steps"].numpy().tolist() == [[0, 0], [5, 6]]
    assert sorted(served.signatures) == ["serving_default", "serving_tf_examples", "transform_features"]


def test_lists_of_lists_are_taken_by_functions_alone(graph: TransformGraph, tmp_path: Path) -> None:
    class Sums(keras.Model):
        def call(self, features: Any, training: bool = False) -> Any:
            return tf.reduce_sum(tf.reduce_sum(features, axis=2), axis=1)

    served = exported(Sums(), graph, tmp_path / "model", features="track")
    assert not set(served.signatures) & {"serving_default", "transform_features", "serving_tf_examples"}
    track = tf.ragged.constant([[[1.0, 2.0]], [], [[1.0], [3.0]]], ragged_rank=2)
    assert served.serve({"track": track})["outputs"].numpy().tolist() == [3.0, 0.0, 4.0]


def test_one_feature_may_be_the_input_itself_and_outputs_may_be_several(graph: TransformGraph, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2, 2)), keras.layers.Flatten(), keras.layers.Rescaling(2.0)])
    served = exported(model, graph, tmp_path / "one", features="grid")
    grid = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    assert served.signatures["serving_default"](grid=tf.constant(grid))["outputs"].numpy().tolist() == [[0, 2, 4, 6]]
    served = exported(functional(lambda out: [out, out + 1.0]), graph, tmp_path / "two")
    found = served.signatures["serving_default"](wide=tf.constant([3.0]), city=tf.constant(["bonn"]))
    assert {name: tensor.numpy().tolist() for name, tensor in found.items()} == {
        "output_0": [[4.0]],
        "output_1": [[5.0]],
    }


def test_what_a_model_takes_has_to_be_known(graph: TransformGraph, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2, 2)), keras.layers.Flatten()], name="flat")
    with pytest.raises(OptionError, match="features= should name the transformed features that 'flat' takes"):
        export_with_transform(model, graph, tmp_path / "model")
    with pytest.raises(OptionError, match=r"outputs names \['gone'\]"):
        export_with_transform(model, graph, tmp_path / "model", features="gone")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("names", [["a.b", "a/b", "a-b"], ["self"], ["a b"]])
def test_names_that_are_no_arguments_are_taken_by_functions_and_examples(tmp_path: Path, names: list[str]) -> None:
    class Sum(keras.Model):
        def call(self, features: Any, training: bool = False) -> Any:
            return sum(features.values())

    specs = {name: tf.TensorSpec([None], tf.float32) for name in names}
    saved = tf.Module()
    saved.transform_fn = tf.function(
        lambda inputs: {name: tensor * 2.0 for name, tensor in inputs.items()}, input_signature=[specs], autograph=False
    ).get_concrete_function()
    tf.saved_model.save(saved, str(tmp_path / "graph" / "transform_fn"))
    served = exported(Sum(), TransformGraph(tmp_path / "graph"), tmp_path / "model", features=names)
    expected = {"serving_default", "serving_tf_examples", "transform_features"}
    assert set(served.signatures) == ({"serving_tf_examples"} if names != ["a b"] else expected)
    raw = {name: tf.constant([1.0, 2.0]) for name in names}
    assert served.serve(raw)["outputs"].numpy().tolist() == [2.0 * len(names), 4.0 * len(names)]
    if names == ["a b"]:
        assert served.signatures["serving_default"](a_b=raw["a b"])["outputs"].numpy().tolist() == [2.0, 4.0]

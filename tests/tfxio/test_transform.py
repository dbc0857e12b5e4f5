"""TensorFlow Transform without TFX: analysed through Beam, applied in tf.data, served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tfx_bsl.tfxio.dataset_options import TensorFlowDatasetOptions

from tests.tfxio.data import plain, write
from tfpetastorm.schema.codecs import CompressedImageCodec, NdarrayCodec
from tfpetastorm.schema.field import UnischemaField as Field
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfxio import UnischemaTFXIO

SCHEMA = Unischema(
    "Trips",
    [
        Field("fare", np.float64),
        Field("tip", np.float32, (), None, True),
        Field("city", np.str_),
        Field("at", np.int16, (2,), NdarrayCodec()),
        Field("stops", np.str_, (None,)),
        Field("photo", np.uint8, (4, 4, 3), CompressedImageCodec("png")),
        Field("unused", np.float64, (None, None), NdarrayCodec()),
    ],
)


def rows(count: int = 50) -> list[dict[str, Any]]:
    return [
        {
            "fare": i / 2,
            "tip": None if i % 5 == 0 else float(i),
            "city": ["oslo", "rome", "bern"][i % 3],
            "at": np.array([i, -i], np.int16),
            "stops": np.array(["a", "b"][: i % 3], np.str_),
            "photo": np.full((4, 4, 3), i, np.uint8),
            "unused": np.ones((i % 2, 2)),
        }
        for i in range(count)
    ]


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    tip = tf.squeeze(inputs["tip"].to_tensor(default_value=-1.0, shape=[None, 1]), 1)
    photo = tf.map_fn(lambda raw: tf.io.decode_png(raw, 3), inputs["photo"], fn_output_signature=tf.uint8)
    return {
        "fare": tft.scale_to_z_score(inputs["fare"]),
        "tip": tip,
        "city": tft.compute_and_apply_vocabulary(inputs["city"]),
        "at": tft.scale_to_0_1(inputs["at"]),
        "stops": tft.compute_and_apply_vocabulary(inputs["stops"]),
        "light": tf.reduce_mean(tf.cast(photo, tf.float32), [1, 2, 3]),
    }


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> tuple[UnischemaTFXIO, Path]:
    folder = tmp_path_factory.mktemp("tft")
    io = UnischemaTFXIO(write(folder / "d", SCHEMA, rows(), 20))
    with beam.Pipeline() as pipeline, tft_beam.Context(temp_dir=str(folder / "tmp")):
        raw = pipeline | io.BeamSource()
        function = (raw, io.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(preprocessing_fn)
        _ = function | tft_beam.WriteTransformFn(str(folder / "graph"))
    return io, folder / "graph"


def test_the_graph_in_tf_data_gives_what_was_analysed(analysed: tuple[UnischemaTFXIO, Path]) -> None:
    io, folder = analysed
    layer = tft.TFTransformOutput(str(folder)).transform_features_layer()
    dataset = io.TensorFlowDataset(TensorFlowDatasetOptions(50, num_epochs=1, shuffle=False))
    (found,) = dataset.map(layer)
    fares = np.arange(50) / 2
    np.testing.assert_allclose(found["fare"], (fares - fares.mean()) / fares.std(), rtol=1e-5)
    assert found["tip"].numpy().tolist() == [-1.0 if i % 5 == 0 else float(i) for i in range(50)]
    # The most frequent first; where equal, the last of the alphabet.
    numbers = {"rome": 0, "oslo": 1, "bern": 2}
    assert found["city"].numpy().tolist() == [numbers[row["city"]] for row in rows()]
    np.testing.assert_allclose(found["at"][10], [59 / 98, 39 / 98], rtol=1e-6)
    assert found["stops"].to_list() == [[0, 1][: i % 3] for i in range(50)]
    assert found["light"].numpy().tolist() == list(range(50))


def test_serving_gives_the_features_of_training(analysed: tuple[UnischemaTFXIO, Path], tmp_path: Path) -> None:
    """A signature that takes what tf.Examples would give: dense and ragged tensors of three types."""
    io, folder = analysed
    layer = tft.TFTransformOutput(str(folder)).transform_features_layer()
    specs = {name: spec for name, spec in io.TensorAdapter().TypeSpecs().items() if name != "unused"}

    class Serving(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        @tf.function(input_signature=[specs])
        def features(self, raw: dict[str, Any]) -> dict[str, Any]:
            return dict(self.layer(raw))

    tf.saved_model.save(Serving(), str(tmp_path / "served"))
    served = tf.saved_model.load(str(tmp_path / "served"))
    dataset = io.TensorFlowDataset(TensorFlowDatasetOptions(20, num_epochs=1, shuffle=True, shuffle_seed=2))
    for raw in dataset:
        expected = layer(raw)
        found = served.features({name: raw[name] for name in specs})
        assert {name: plain(found[name]) for name in found} == {name: plain(expected[name]) for name in expected}

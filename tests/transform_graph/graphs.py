"""A SavedModel as TensorFlow Transform exports one, made by TensorFlow alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf


def ragged(dtype: Any, rank: int = 1) -> Any:
    return tf.RaggedTensorSpec([None] * (rank + 1), dtype, rank, tf.int64)


INPUTS = {
    "small": tf.TensorSpec([None], tf.int64),
    "flag": tf.TensorSpec([None], tf.int64),
    "wide": tf.TensorSpec([None], tf.float32),
    "day": tf.TensorSpec([None], tf.int64),
    "city": tf.TensorSpec([None], tf.string),
    "grid": tf.TensorSpec([None, 2, 2], tf.float32),
    "maybe": ragged(tf.int64),
    "note": tf.SparseTensorSpec([None, None], tf.string),
    "pair": ragged(tf.float32),
    "steps": ragged(tf.int64),
    "track": ragged(tf.float32, 2),
    "photo": tf.TensorSpec([None], tf.string),
    "target": tf.TensorSpec([None], tf.float32),
}


class Graph(tf.Module):
    """`transform_fn`, with a mean in a variable and a vocabulary in a file."""

    def __init__(self, vocabulary: Path) -> None:
        super().__init__()
        self.mean = tf.Variable(2.0)
        keys = tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        self.table = tf.lookup.StaticHashTable(keys, -1)

    def transformed(self, inputs: dict[str, Any]) -> dict[str, Any]:
        passed = {
            name: inputs[name] for name in ("small", "flag", "day", "grid", "maybe", "note", "pair", "steps", "track")
        }
        return passed | {
            "wide_c": inputs["wide"] - self.mean,
            "city_id": self.table.lookup(inputs["city"]),
            "sum": inputs["wide"] + tf.cast(tf.reduce_sum(inputs["steps"], axis=1), tf.float32),
            "photo_size": tf.cast(tf.strings.length(inputs["photo"]), tf.int64),
            "target": inputs["target"] * 10.0,
            "two": tf.ones_like(inputs["target"]) + 1.0,
        }


def write_graph(folder: Path, *, concrete: bool = True) -> Path:
    """An artifact's folder. concrete: what newer releases of TensorFlow Transform save, or else a tf.function."""
    folder.mkdir(parents=True)
    vocabulary = folder / "vocabulary"
    vocabulary.write_text("oslo\nbonn\n")
    graph = Graph(vocabulary)
    function = tf.function(graph.transformed, input_signature=[INPUTS])
    graph.transform_fn = function.get_concrete_function() if concrete else function
    tf.saved_model.save(graph, str(folder / "transform_fn"))
    vocabulary.unlink()  # what was saved has a copy
    return folder

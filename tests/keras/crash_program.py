"""Trains a small model with `tps.keras.fit` and notes what every step saw: what test_crashes.py kills.

Arguments: the dataset, the folder of saves, where to note steps, where to write the result.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tfpetastorm as tps

EPOCHS, BATCH = 5, 8
#: A step takes at least so long, so that there is time to be killed.
STEP_SECONDS = 0.01


class Recorder(keras.Model):
    """Notes the number of each step, from the optimizer, and the ids of its rows."""

    def __init__(self, notes: Path) -> None:
        super().__init__()
        self.notes = notes.open("a", encoding="ascii", buffering=1)
        self.hidden = keras.layers.Dense(4, "tanh")
        self.dropout = keras.layers.Dropout(0.3)
        self.line = keras.layers.Dense(1)
        # 4 MB that make a save take a while.
        self.ballast = self.add_weight(shape=(1 << 20,), initializer="ones", trainable=False)

    def call(self, features, training=False):
        hidden = self.hidden(features["x"][:, None])
        return self.line(self.dropout(hidden, training=training))

    def train_step(self, data):
        noted = tf.numpy_function(self.note, [self.optimizer.iterations.value, data[0]["id"]], tf.int64)
        with tf.control_dependencies([noted]):
            return super().train_step(data)

    def note(self, step, ids):
        self.notes.write(json.dumps([int(step), ids.tolist()]) + "\n")
        time.sleep(STEP_SECONDS)
        return np.int64(0)


def main(url: str, directory: str, notes: str, result: str) -> None:
    keras.utils.set_random_seed(1)
    tf.config.experimental.enable_op_determinism()
    dataset = tps.make_dataset(
        url,
        fields=["id", "x"],
        label="y",
        batch_size=BATCH,
        shuffle=tps.Shuffle(block_rows=150),
        seed=7,
        pool=tps.PoolOptions("process", 2),
    )
    model = Recorder(Path(notes))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    tps.keras.fit(model, dataset, epochs=EPOCHS, directory=directory, save_every=7, verbose=0)
    state = [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]
    Path(result).write_text(json.dumps([value.tobytes().hex() for value in state if value.size < 1000]))


if __name__ == "__main__":
    main(*sys.argv[1:])

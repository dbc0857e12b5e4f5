"""`tps.keras.fit` under a strategy, `tf_keras` on several workers or Keras 3 on two CPUs of one; ends in the middle if
told to, as the crash of one worker ends all. Writes what each step saw and what the model became."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

import tfpetastorm as tps


class CrashError(Exception):
    pass


def main(
    url: str, library: str, directory: str, own: bool, epochs: int, stop_after: int, save_every: int, block: int
) -> dict:
    if library == "tf_keras":
        import tf_keras as keras

        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        if own:
            directory += f"-{strategy.cluster_resolver.task_id}"
    else:
        import keras

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    keras.utils.set_random_seed(1)
    trained: list[list[int]] = []

    class Recorder(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.norm = keras.layers.BatchNormalization()
            self.line = keras.layers.Dense(1)

        def call(self, features, training=False):
            return self.line(self.norm(features["x"][:, None], training=training))

        def train_step(self, data):
            tf.numpy_function(self.note, [data[0]["id"]], tf.int64)
            return super().train_step(data)

        @staticmethod
        def note(ids):
            trained.append(ids.tolist())
            return np.int64(0)

    class Crash(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if self.steps == stop_after:
                raise CrashError

    with strategy.scope():
        dataset = tps.make_dataset(
            url, fields=["id", "x"], label="y", batch_size=8, shuffle=tps.Shuffle(block_rows=block), seed=5,
            even="drop", pool="inline",
        )  # fmt: skip
        model = Recorder()
        model.compile("adam", "mse")
    made, error = [], ""
    try:
        history = tps.keras.fit(
            model, dataset, epochs=epochs, directory=directory, save_every=save_every, verbose=0, callbacks=[Crash()]
        )
        made = history.epoch
    except (CrashError, tps.TfpetastormError) as wrong:
        error = f"{type(wrong).__name__}: {wrong}"
    variables = [*model.variables, *model.optimizer.variables]
    # All see the sum or mean of what the workers hold, so all have to ask.
    values = [np.asarray(variable.numpy()).tobytes().hex() for variable in variables]
    folder = Path(directory)
    return {
        "trained": trained,
        "epochs": made,
        "error": error,
        "values": values,
        "steps": tps.steps(dataset),
        "saves": sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [],
    }


if __name__ == "__main__":
    result = main(**json.loads(sys.argv[2]))
    Path(sys.argv[1]).write_text(json.dumps(result))

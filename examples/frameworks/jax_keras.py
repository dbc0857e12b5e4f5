"""JAX, through Keras 3 with its JAX backend: `model.fit` takes our `tf.data.Dataset` as it is.

python examples/frameworks/jax_keras.py [--folder demo]
"""

from __future__ import annotations

import os
import sys

os.environ["KERAS_BACKEND"] = "jax"  # before anything imports keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from digits_data import TEST, TRAIN, digits_url, tell

import tfpetastorm as tps


def main() -> int:
    assert keras.backend.backend() == "jax"
    url = digits_url()
    options = {"fields": ["image"], "label": "digit", "batch_size": 32}
    train = tps.make_dataset(url, where=TRAIN, shuffle=True, seed=1, **options)
    test = tps.make_dataset(url, where=TEST, **options)
    image = keras.Input((8, 8), name="image")
    hidden = keras.layers.Rescaling(1 / 16)(keras.layers.Flatten()(image))
    hidden = keras.layers.Dense(64, activation="relu")(hidden)
    model = keras.Model({"image": image}, keras.layers.Dense(10, activation="softmax")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train, epochs=8, verbose=2)
    return tell(model.evaluate(test, verbose=0)[1])


if __name__ == "__main__":
    sys.exit(main())

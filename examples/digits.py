"""From arrays to a trained model: writes 1,797 real handwritten digits as a Parquet dataset of PNG images, opens it,
and trains a small Keras model from it.

    python examples/digits.py [--folder demo] [--epochs 12]

The digits are those that scikit-learn ships: 8 × 8 pixels, 17 levels of grey, written by 43 people (E. Alpaydin and
C. Kaynak, 1998). The exit status is 1 if fewer than 95 % of the digits that the model never trained on are recognised.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits

import tfpetastorm as tps
from tfpetastorm.cli.sheet import Tile, contact_sheet
from tfpetastorm.cli.text import codec_text, size_text, type_text


@contextlib.contextmanager
def hushed():
    """Drops what native code writes to stderr: TensorFlow tells of the hardware before it can be told not to."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with hushed():
    import keras
    import tensorflow as tf

    tf.config.list_logical_devices()

SCHEMA = tps.Unischema(
    "Digits",
    [
        tps.UnischemaField("image", np.uint8, (8, 8), tps.CompressedImageCodec("png")),
        tps.UnischemaField("digit", np.int32, ()),
    ],
)
GOAL = 0.95
BATCH = 32
console = Console(highlight=False)


def write_digits(url):
    """Writes all digits, in row groups of 100 rows."""
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    with tps.DatasetWriter(url, SCHEMA, row_group_rows=100, mode="overwrite") as writer:
        writer.write_batch({"image": images, "digit": digits.target.astype(np.int32)})


def training_data(url, **options):
    """Four fifths of the rows, in another order each epoch."""
    return tps.make_dataset(url, label="digit", batch_size=BATCH, shuffle=True, seed=7, split=("train", 0.8), **options)


def test_data(url):
    """The other fifth: which rows these are depends on the rows alone, so training never sees one of them."""
    return tps.make_dataset(url, label="digit", batch_size=BATCH, split=("test", 0.2))


def small_model():
    """Two convolutions and a dense layer; takes the dataset's features as they are."""
    image = keras.Input((8, 8), name="image", dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(keras.layers.Reshape((8, 8, 1))(image))
    x = keras.layers.Conv2D(32, 3, activation="relu", padding="same")(x)
    x = keras.layers.Conv2D(64, 3, activation="relu", padding="same")(x)
    x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Dropout(0.3)(keras.layers.Flatten()(x))
    model = keras.Model({"image": image}, keras.layers.Dense(10)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(2e-3), loss=loss, metrics=["accuracy"])
    return model


def train(model, dataset, epochs):
    """`model.fit`, with the share of time spent waiting for data. The first epoch is not measured: it compiles."""
    monitor = tps.Monitor(dataset)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=not console.is_terminal) as progress:
        task = progress.add_task("training", total=epochs * tps.steps(dataset), note="")

        def epoch_ended(epoch, logs):
            if epoch == 0 and epochs > 1:
                monitor.reset()
            progress.update(task, note=f"loss {logs['loss']:.3f}  accuracy {logs['accuracy']:.1%}")

        watch = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: progress.advance(task), on_epoch_end=epoch_ended
        )
        # shuffle=False spares a warning of Keras 3.15: the dataset shuffles by itself.
        model.fit(monitor.dataset, epochs=epochs, shuffle=False, verbose=0, callbacks=[watch])
    return monitor.report()


def draw_predictions(model, dataset, path, count=40):
    """A contact sheet of the first test digits with what the model takes them for, mistakes in red."""
    tiles = []
    for features, digits in dataset:
        guesses = np.argmax(model.predict_on_batch(features), axis=1)
        for image, digit, guess in zip(features["image"].numpy(), digits.numpy(), guesses, strict=True):
            right = digit == guess
            caption = f"{guess}" if right else f"{guess}, is {digit}"
            tiles.append(Tile(image, (caption,), (40, 110, 60) if right else (200, 30, 30)))
        if len(tiles) >= count:
            break
    sheet = contact_sheet(tiles[:count], title="Digits never trained on, and what the model reads", columns=10)
    cv2.imwrite(str(path), sheet[:, :, ::-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where to write (./demo)")
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    keras.utils.set_random_seed(7)
    url = options.folder / "digits"

    write_digits(url)
    stored = tps.open_dataset(url)
    size = size_text(sum(file.size for file in stored.files))
    fields = "; ".join(f"{field.name}: {type_text(field)}, {codec_text(field.codec)}" for field in stored.schema)
    console.print(
        f"[bold]{url}[/]  {stored.num_rows:,} rows in {len(stored.row_groups)} row groups, {size}", soft_wrap=True
    )
    console.print(fields, soft_wrap=True)

    training, testing = training_data(url), test_data(url)
    model = small_model()
    report = train(model, training, options.epochs)
    _, accuracy = model.evaluate(testing, verbose=0)
    tested = sum(len(digits) for _, digits in testing)
    picture = options.folder / "predictions.png"
    draw_predictions(model, testing, picture)

    reached = accuracy >= GOAL
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_row(
        "accuracy", f"[bold {'green' if reached else 'red'}]{accuracy:.1%}[/] of {tested} rows never trained on"
    )
    table.add_row("speed", f"{report.rows_per_second:,.0f} rows a second, training included")
    table.add_row("waiting for data", f"{report.wait_share:.1%} of step time ({report.steps} steps)")
    table.add_row("pictures", str(picture))
    console.print(table)
    if not reached:
        console.print(f"[red]That is less than {GOAL:.0%}.[/]")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())

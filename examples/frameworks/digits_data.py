"""What the examples beside this file train on: scikit-learn's 1,797 handwritten digits as a Parquet dataset of PNG
images, in five parts of which the first is kept for the test."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import tfpetastorm as tps

SCHEMA = tps.Unischema(
    "Digits",
    [
        tps.UnischemaField("image", np.uint8, (8, 8), tps.CompressedImageCodec("png")),
        tps.UnischemaField("digit", np.int32, ()),
        tps.UnischemaField("part", np.int32, ()),
    ],
)
TRAIN = [("part", "!=", 0)]
TEST = [("part", "==", 0)]
GOAL = 0.85


def digits_url() -> str:
    """The dataset's URL, in the folder that the command line names; written if it is not there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("demo"))
    path = parser.parse_args().folder / "framework-digits"
    if not path.exists():
        images, digits = load_digits(return_X_y=True)
        with tps.DatasetWriter(path, SCHEMA, row_group_rows=100) as writer:
            writer.write_batch(
                {
                    "image": images.reshape(-1, 8, 8).astype(np.uint8),
                    "digit": digits.astype(np.int32),
                    "part": np.arange(len(digits), dtype=np.int32) % 5,
                }
            )
    return path.resolve().as_uri()


def tell(accuracy: float) -> int:
    """Prints the accuracy; gives the program's exit status."""
    print(f"{accuracy:.1%} of the digits never trained on are recognised")
    return int(accuracy < GOAL)

"""Pictures with a photograph's kind of detail, drawn from seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def scenery(random: np.random.Generator, height: int, width: int, fine: float = 0.65, colour: float = 0.3) -> Array:
    """Coarse to fine clouds and half-transparent shapes: float32 `[height, width, 3]`, brightness about 120.

    fine: how strong each octave of clouds is, of the one before. colour: how strong colours are, of brightness.
    """
    import cv2

    picture: Array = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 7):
        cells = 2**octave + 1
        clouds = random.standard_normal((cells, cells, 3)).astype(np.float32)
        clouds = colour * clouds + clouds[..., :1]
        picture += fine**octave * cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(5):
        shape = picture.copy()
        centre = int(random.integers(0, width)), int(random.integers(0, height))
        axes = random.integers(width // 16, width // 4, 2)
        paint = random.normal(0, 1, 3)
        turn = float(random.uniform(0, 180))
        cv2.ellipse(shape, centre, axes.tolist(), turn, 0, 360, paint.tolist(), -1, cv2.LINE_AA)
        picture = (picture + shape) / 2
    bright: Array = 120 + 55 * picture / picture.std()
    return bright


def levels(picture: Array) -> Array:
    """The picture as uint8."""
    clipped: Array = np.clip(picture, 0, 255).astype(np.uint8)
    return clipped


def photo(number: int, size: int = 224) -> Array:
    """A picture of its own for each number, with grain: uint8 `[size, size, 3]`."""
    random = np.random.default_rng([99, number])
    picture = scenery(random, size, size)
    grain = random.standard_normal((size, size, 1)).astype(np.float32) * random.uniform(4, 16)
    return levels(picture + grain)

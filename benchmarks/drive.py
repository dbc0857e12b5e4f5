"""The drive set: runs of a car with a camera, a lidar and other sensors, ten rows a second.

Runs of 600 rows: numbers, text and a nullable label as Parquet's own types, arrays as `.npy`, pictures as PNG, which a
core decodes in about a millisecond. The camera pans over a scene of its own for each run.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from benchmarks.pictures import Array, levels, scenery

RUN_ROWS = 600
#: Nanoseconds between two rows, unless there is a gap: one step in about 60 takes 0.5 to 3 seconds.
STEP = 100_000_000
HEIGHT, WIDTH = 120, 160


def schema() -> Any:
    """The schema of the set."""
    import tfpetastorm as tps

    return tps.Unischema(
        "Drive",
        [
            tps.UnischemaField("run_id", np.str_),
            tps.UnischemaField("timestamp", np.int64),
            tps.UnischemaField("speed", np.float32),
            tps.UnischemaField("imu", np.float32, (6,), tps.NdarrayCodec()),
            tps.UnischemaField("lidar", np.float32, (512, 4), tps.NdarrayCodec()),
            tps.UnischemaField("camera", np.uint8, (HEIGHT, WIDTH, 3), tps.CompressedImageCodec("png")),
            tps.UnischemaField("label", np.int32, nullable=True),
        ],
    )


@functools.lru_cache(maxsize=2)
def _times(run: int) -> Array:
    """Nanoseconds since 1970 of each row of a run: int64 `[RUN_ROWS]`."""
    random = np.random.default_rng([7, run])
    steps = np.full(RUN_ROWS, STEP)
    gaps = random.random(RUN_ROWS) < 1 / 60
    steps[gaps] = STEP * random.integers(5, 31, int(gaps.sum()))
    steps[0] = 0
    return 1_700_000_000_000_000_000 + run * 3_600_000_000_000 + np.cumsum(steps)


@functools.lru_cache(maxsize=2)
def _scene(run: int) -> Array:
    """What a run's camera pans over: int16 `[HEIGHT, 2 * WIDTH, 3]`."""
    return levels(scenery(np.random.default_rng([78, run]), HEIGHT, 2 * WIDTH, fine=0.8, colour=0.45)).astype(np.int16)


def row(number: int) -> dict[str, Any]:
    """The row with this number, from 0."""
    run, k = divmod(number, RUN_ROWS)
    random = np.random.default_rng([77, run, k])
    left = k * WIDTH // RUN_ROWS
    noise = random.integers(-2, 3, (HEIGHT, WIDTH, 1))
    points = random.standard_normal((512, 4), np.float32) * np.array([20, 20, 2, 0.3], np.float32)
    return {
        "run_id": f"run_{run:03d}",
        "timestamp": int(_times(run)[k]),
        "speed": 12 + 6 * np.sin(k / 70) + random.normal(0, 0.2),
        "imu": random.standard_normal(6, np.float32),
        "lidar": points,
        "camera": levels(_scene(run)[:, left : left + WIDTH] + noise),
        "label": int(random.integers(0, 5)) if random.random() > 0.3 else None,
    }

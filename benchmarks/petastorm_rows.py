"""Rows a second of petastorm's `make_reader`, which needs an environment of its own (`make petastorm-env`).

Run there, this file reads a shard of a dataset and prints how many rows, and the seconds from `make_reader` to the last
row; imports are not counted.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

_PYTHON = Path(__file__).parent.parent / ".envs" / "petastorm" / "bin" / "python"
_TRIES = 5


def shards_of(scale: float) -> int:
    """One of how many shards is read, by both sides: petastorm would take a minute for all of the whole set."""
    return 5 if scale >= 1 else 1


def read(url: str, shards: int) -> tuple[int, float]:
    """Rows and seconds of real petastorm in its own environment.

    Its ventilator and its pool race at the start, so that it may end before the first row: such a run is made again.
    """
    if not _PYTHON.exists():
        raise RuntimeError("petastorm is not installed: make petastorm-env")
    for _ in range(_TRIES):
        rows, seconds = _one_run(url, shards)
        if rows:
            return rows, seconds
    raise RuntimeError(f"petastorm's reader gave no rows of {url}, {_TRIES} times")


def _one_run(url: str, shards: int) -> tuple[int, float]:
    done = subprocess.run(
        [str(_PYTHON), "-W", "ignore", __file__, url, str(shards)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"petastorm failed: {done.stderr[-2000:]}")
    rows, seconds = next(line for line in done.stdout.splitlines() if line.startswith("rows ")).split()[1:]
    return int(rows), float(seconds)


def main() -> None:
    """What runs under petastorm."""
    from petastorm import make_reader

    began = time.perf_counter()
    with make_reader(sys.argv[1], cur_shard=0, shard_count=int(sys.argv[2]), workers_count=2) as reader:
        rows = sum(1 for _ in reader)
        seconds = time.perf_counter() - began
    print("rows", rows, seconds)


if __name__ == "__main__":
    main()

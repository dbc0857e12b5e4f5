"""Epochs from the disk cache against epochs without it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.datasets import dataset
from benchmarks.measure import Pass, Round, alternate, time_dataset


def second_against(first: str) -> Callable[[float, int], Iterator[Round]]:
    """A later epoch of the JPEG set against one that fills a cache, which is made anew for each round, or against one
    without a cache ("filling" or "plain")."""

    def play(scale: float, rounds: int) -> Iterator[Round]:
        import tfpetastorm as tps

        def jpegs(cache: Any) -> Any:
            url = str(dataset("images", scale)[0])
            return tps.make_dataset(url, fields=["image", "label"], batch_size=64, cache=cache)

        with tempfile.TemporaryDirectory(prefix="tfpetastorm-benchmark-") as folder:
            later, plain = jpegs(Path(folder) / "full"), jpegs(None)
            time_dataset(later)

            def reference() -> Pass:
                if first == "plain":
                    return time_dataset(plain)
                with tempfile.TemporaryDirectory(prefix="cache-", dir=folder) as fresh:
                    filling = jpegs(fresh)
                    one = time_dataset(filling)
                    tps.close(filling)
                    return one

            yield from alternate(lambda: time_dataset(later), reference, rounds)
            tps.close(later)
            tps.close(plain)

    return play

"""How long it takes until the first batch is there, from any position of an epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Pass, Round, alternate

#: Starts in a row: a single one takes some tenths of a second, too little to time on a busy machine.
STARTS = 5


def play(folder: Path, options: dict[str, Any], rounds: int) -> Iterator[Round]:
    """A start at the last step of an epoch against one at its first, as starts a second.

    The dataset lies open already. Timed is `make_dataset(start=...)`, which checks the position and plans, and what
    follows until the first batch is there. A second epoch follows, so that both sides have as much to read ahead.
    """
    import tfpetastorm as tps

    stored = tps.open_dataset(str(folder))
    whole = tps.make_dataset(stored, epoch=0, **options)
    last = tps.position(whole, int(whole.cardinality()) - 1)
    first = tps.position(whole, 0)

    def starts(position: Any) -> Pass:
        seconds = 0.0
        for _ in range(STARTS):
            began = time.perf_counter()
            dataset = tps.make_dataset(stored, start=position, epochs=2, **options)
            iterator = iter(dataset)
            next(iterator)
            seconds += time.perf_counter() - began
            del iterator
            tps.close(dataset)
        return Pass(STARTS, seconds)

    yield from alternate(lambda: starts(last), lambda: starts(first), rounds)

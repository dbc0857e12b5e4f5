"""Reading from a store with 50 ms of latency a request, against the same files on the local disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from benchmarks.datasets import dataset
from benchmarks.measure import Round, alternate, time_dataset
from benchmarks.s3_server import BUCKET, S3Server

LATENCY = 0.05


def against_local(name: str, epochs: int, **options: Any) -> Callable[[float, int], Iterator[Round]]:
    """A contest over a dataset of the benchmarks. options: of `make_dataset`, for both sides."""

    def play(scale: float, rounds: int) -> Iterator[Round]:
        import tfpetastorm as tps

        folder: Path = dataset(name, scale)[0]
        with S3Server(in_memory=True) as server:
            store = server.filesystem()
            pafs.copy_files(str(folder), f"{BUCKET}/set", destination_filesystem=store)
            server.faults(latency=LATENCY)
            there = tps.make_dataset(f"{BUCKET}/set", filesystem=store, epochs=epochs, **options)
            here = tps.make_dataset(str(folder), epochs=epochs, **options)
            # Opening and the first batch are once in a training run.
            yield from alternate(lambda: time_dataset(there), lambda: time_dataset(here), rounds, steady=True)
            tps.close(there)

    return play

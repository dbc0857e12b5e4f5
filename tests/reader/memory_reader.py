"""A reader of rows in memory: the interface that adapters may rely on, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tfpetastorm as tps


class MemoryReader:
    """Rows (or, with `batch` rows at once, batches) of equally long columns, `passes` times over; endless with 0."""

    def __init__(self, columns: dict[str, Any], batch: int = 0, passes: int = 1, ngram: Any = None) -> None:
        self.columns = {name: np.asarray(values) for name, values in columns.items()}
        self.schema = tps.Unischema(
            "Memory",
            [
                tps.UnischemaField(name, np.str_ if values.dtype.kind in "UO" else values.dtype.type, values.shape[1:])
                for name, values in self.columns.items()
            ],
        )
        self.ngram = ngram
        self.batched_output = batch > 0
        self.stopped = False
        self.joined = False
        self.resets = 0
        self._batch = batch
        self._passes = passes
        self._at = 0

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        size = self._batch or 1
        per_pass = -(-len(self) // size)
        if self.last_row_consumed:
            raise StopIteration
        start = self._at % per_pass * size
        self._at += 1
        at: Any = slice(start, start + size) if self._batch else start
        return self.schema.namedtuple_type()(**{name: values[at] for name, values in self.columns.items()})

    next = __next__

    @property
    def last_row_consumed(self) -> bool:
        return bool(self._passes) and self._at >= self._passes * -(-len(self) // (self._batch or 1))

    def reset(self) -> None:
        self.resets += 1
        self._at = 0

    def stop(self) -> None:
        self.stopped = True

    def join(self) -> None:
        self.joined = True

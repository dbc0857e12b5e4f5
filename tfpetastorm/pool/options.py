"""How read tasks are run."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from tfpetastorm.errors import OptionError

KINDS = ("thread", "process", "inline")

#: On a store, workers for each core: most of them wait for it. Enough to hide 50 ms a request at a core's full speed,
#: where row groups take a few times as long to decode.
_ON_STORES = {"thread": 4, "process": 2, "inline": 1}


def available_cores() -> int:
    """The cores this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class PoolOptions:
    """How read tasks are run. None of these options changes what comes out or in which order.

    kind: "thread" (the default: Arrow and OpenCV release Python's lock), "process" (for Python-heavy transforms) or
    "inline" (no workers: for debugging). workers: threads or processes; by default one a core, and where the dataset is
    on a store, with requests to wait for, four threads or two processes a core. budget_bytes: decoded bytes that may be
    in flight or waiting, 512 MiB by default. idle_seconds: workers of an iterator that asks for nothing are stopped
    after this long; they start again on demand.

    Raises OptionError for an unknown kind or a number that is not positive.
    """

    kind: str = "thread"
    workers: int | None = None
    budget_bytes: int = 512 * 1024 * 1024
    idle_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise OptionError(f"pool kind {self.kind!r} is not one of {', '.join(KINDS)}.")
        if (self.workers is not None and self.workers < 1) or self.budget_bytes < 1 or self.idle_seconds <= 0:
            raise OptionError(f"workers, budget_bytes and idle_seconds must be positive; found {self}.")

    @classmethod
    def of(cls, value: str | PoolOptions) -> PoolOptions:
        """A kind by name, or options as they are."""
        return value if isinstance(value, PoolOptions) else cls(kind=value)

    @property
    def count(self) -> int:
        """How many workers there are, one a core where nothing was said."""
        return available_cores() if self.workers is None else self.workers

    def on(self, local: bool) -> PoolOptions:
        """These options for a dataset on this machine, or on a store: as many workers as suit it, unless told."""
        if local or self.workers is not None:
            return self
        return replace(self, workers=_ON_STORES[self.kind] * available_cores())

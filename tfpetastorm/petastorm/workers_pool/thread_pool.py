"""`petastorm.workers_pool.thread_pool`: replaced. Each name says by an error what to call."""

from __future__ import annotations

from typing import Any

from tfpetastorm.errors import ReplacedError

#: Petastorm's workers looked this often, in seconds, whether they should end; ours are told.
IO_TIMEOUT_INTERVAL_S = 0.001


class WorkerTerminationRequested(Exception):  # noqa: N818 - petastorm's name
    """Petastorm's workers raised it when they were told to end; nothing does now."""


class WorkerThread:
    """Replaced: raises ReplacedError, which shows the new call."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ReplacedError(
            "WorkerThread is replaced: make_reader(url, reader_pool_type='thread', workers_count=4), or "
            "make_dataset(url, pool=tfpetastorm.PoolOptions('thread', workers=4))."
        )


class ThreadPool:
    """Replaced: raises ReplacedError, which shows the new call."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ReplacedError(
            "ThreadPool is replaced: make_reader(url, reader_pool_type='thread', workers_count=4), or "
            "make_dataset(url, pool=tfpetastorm.PoolOptions('thread', workers=4))."
        )

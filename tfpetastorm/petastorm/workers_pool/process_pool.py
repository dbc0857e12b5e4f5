"""`petastorm.workers_pool.process_pool`: replaced. Each name says by an error what to call."""

from __future__ import annotations

from typing import Any

from tfpetastorm.errors import ReplacedError


class ProcessPool:
    """Replaced: raises ReplacedError, which shows the new call."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ReplacedError(
            "ProcessPool is replaced: make_reader(url, reader_pool_type='process', workers_count=4), or "
            "make_dataset(url, pool=tfpetastorm.PoolOptions('process', workers=4))."
        )

"""`petastorm.workers_pool.dummy_pool`: replaced. Each name says by an error what to call."""

from __future__ import annotations

from typing import Any

from tfpetastorm.errors import ReplacedError


class DummyPool:
    """Replaced: raises ReplacedError, which shows the new call."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ReplacedError(
            "DummyPool is replaced: make_reader(url, reader_pool_type='dummy'), or make_dataset(url, pool='inline')."
        )

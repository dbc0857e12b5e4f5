"""`petastorm.workers_pool.ventilator`: replaced. Each name says by an error what to call."""

from __future__ import annotations

from typing import Any

from tfpetastorm.errors import ReplacedError


class Ventilator:
    """Replaced: raises ReplacedError, which shows the new call."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ReplacedError(
            "Ventilator is replaced: the engine knows the order ahead, and a budget in bytes bounds what waits. See "
            "tfpetastorm.PoolOptions(budget_bytes=...) and make_dataset(url, epochs=..., shuffle=..., seed=...)."
        )


class ConcurrentVentilator:
    """Replaced: raises ReplacedError, which shows the new call."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ReplacedError(
            "ConcurrentVentilator is replaced: the engine knows the order ahead, and a budget in bytes bounds what "
            "waits. See make_dataset(url, pool=tfpetastorm.PoolOptions(budget_bytes=...), epochs=..., shuffle=...)."
        )

"""`petastorm.workers_pool`: petastorm's own pools are gone; `tfpetastorm.PoolOptions` says how workers run.

Its exceptions are kept for programs that catch them; nothing raises them.
"""

from __future__ import annotations

__all__ = ["EmptyResultError", "TimeoutWaitingForResultError", "VentilatedItemProcessedMessage"]


class EmptyResultError(Exception):
    """Petastorm's pools raised it where nothing was left to read."""


class TimeoutWaitingForResultError(Exception):
    """Petastorm's pools raised it where a worker took too long."""


class VentilatedItemProcessedMessage:
    """Petastorm's workers sent it when an item was done."""

"""The order of an epoch: a permutation of read tasks, a function of (tasks, shuffle, seed, epoch) alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfpetastorm.errors import OptionError
from tfpetastorm.plan.hashing import key64, mix64
from tfpetastorm.plan.tasks import TaskTable
from tfpetastorm.schema.columns import Array


@dataclass(frozen=True)
class Shuffle:
    """How an epoch is shuffled.

    row_groups: permute whole row groups, each epoch anew. Slices of one row group stay together, in stored order,
    so that each row group is still fetched once.
    """

    row_groups: bool = True

    @classmethod
    def of(cls, value: bool | Shuffle) -> Shuffle:
        """`True` for the defaults, `False` for none, or a `Shuffle` as it is."""
        if isinstance(value, Shuffle):
            return value
        if isinstance(value, bool):
            return cls(row_groups=value)
        raise OptionError(f"shuffle takes True, False or a Shuffle, not {value!r}.")


def epoch_order(tasks: TaskTable, shuffle: Shuffle, seed: int, epoch: int) -> Array:
    """int64 `[n]`: the index of the read task at each position of epoch `epoch` (from 0)."""
    n = len(tasks)
    if not shuffle.row_groups:
        return np.arange(n, dtype=np.int64)
    key = key64("row groups", seed, epoch)
    rank = mix64(mix64(tasks.row_group) ^ key)
    # Ties (the slices of one row group) keep their stored order; distinct row groups can't tie: mix64 is a bijection.
    return np.argsort(rank, kind="stable").astype(np.int64)

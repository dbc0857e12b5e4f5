"""The order of an epoch: a permutation of its samples, a function of (tasks, shuffle, seed, epoch) alone.

A sample is a row, or a window of rows. Whole row groups are permuted first, which gives the *stream*; the stream is
cut into blocks of a fixed number of samples, and each block is permuted by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfpetastorm.errors import OptionError
from tfpetastorm.plan.hashing import key64, mix64, random64
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.plan.tasks import TaskTable
from tfpetastorm.schema.columns import Array

#: A block's decoded bytes unless the user sets it. A constant: an order must not move with the memory at hand.
BLOCK_BYTES = 48 * 1024 * 1024

#: Rows of a block at most: they are numbered by int32 in the graph.
_MOST_ROWS = 2**31 - 1


@dataclass(frozen=True)
class Shuffle:
    """How an epoch is shuffled.

    row_groups: permute whole row groups, each epoch anew; each is still fetched once. rows: mix the rows of a block of
    consecutive row groups (in that order) with one another. block_rows, block_bytes: how much is mixed at most, in rows
    (with n-grams: windows) or in decoded bytes, 48 MiB by default; set at most one. All blocks are of about the same
    size. `tfpetastorm shuffle-quality` tells how good a shuffle is. On its way to a batch a block takes about five
    times its size in memory.

    Raises OptionError for sizes that are not positive, or given where rows are not mixed.
    """

    row_groups: bool = True
    rows: bool = True
    block_rows: int | None = None
    block_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("block_rows", "block_bytes"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, whole_number(name, value, 1))
                if not self.rows:
                    raise OptionError(f"Shuffle(rows=False) mixes no rows, so {name} has no meaning; leave it out.")
        if self.block_rows is not None and self.block_bytes is not None:
            raise OptionError("Shuffle takes block_rows or block_bytes, not both.")

    @classmethod
    def of(cls, value: bool | Shuffle) -> Shuffle:
        """`True` for the defaults, `False` for none, or a `Shuffle` as it is."""
        if isinstance(value, Shuffle):
            return value
        if isinstance(value, bool):
            return cls(row_groups=value, rows=value)
        raise OptionError(f"shuffle takes True, False or a Shuffle, not {value!r}.")

    def block(self, row_bytes: float) -> int:
        """The samples of a block, for rows of so many decoded bytes on average; 0 where rows are not mixed."""
        if not self.rows:
            return 0
        if self.block_rows is not None:
            return min(self.block_rows, _MOST_ROWS)
        return int(min(max(1, (self.block_bytes or BLOCK_BYTES) // max(row_bytes, 1.0)), _MOST_ROWS))


def equal_blocks(block: int, total: int) -> int:
    """The size of blocks of at most `block` samples, all of about the same size: a short one at the end of an epoch
    would hardly be mixed. 0 where `block` is."""
    return -(-total // -(-total // block)) if block and total else block


def epoch_order(
    tasks: TaskTable, shuffle: Shuffle, seed: int, epoch: int, units: Array | None = None, slices: bool = False
) -> Array:
    """int64 `[n]`: the index of the read task at each position of epoch `epoch` (from 0).

    units: int64 `[n]`, what is permuted as a whole, ascending; row groups unless given. slices: whether the tasks of a
    unit are permuted too, rather than in stored order.
    """
    if not shuffle.row_groups:
        return np.arange(len(tasks), dtype=np.int64)
    unit = tasks.row_group if units is None else units
    rank = mix64(mix64(unit) ^ key64("row groups", seed, epoch))
    # Distinct units can't tie, mix64 is a bijection. Ties, the tasks of one unit, keep their stored order or get one.
    if not np.any(unit[1:] == unit[:-1]):
        return np.argsort(rank).astype(np.int64)
    if not slices:
        return np.argsort(rank, kind="stable").astype(np.int64)
    within = mix64(mix64(np.arange(len(tasks))) ^ key64("slices", seed, epoch))
    return np.lexsort((within, rank)).astype(np.int64)


def block_permutation(seed: int, epoch: int, block: int, size: int) -> Array:
    """int32 `[size]`: which sample of the block (by its place in the stream) comes at each position of the block."""
    hashes = random64(key64("block", seed, epoch, block), size)
    # Sorting hashes with the numbers packed into their low bits takes a tenth of the time of a stable argsort.
    bits = np.uint64(max(1, size).bit_length())
    packed = (hashes >> bits << bits) | np.arange(size, dtype=np.uint64)
    packed.sort()
    return (packed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int32)

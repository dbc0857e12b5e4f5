"""Read tasks: which rows of which row group travel together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tfpetastorm.schema.columns import Array

#: A row group whose decoded rows exceed this many bytes is cut into slices of about equal size. A constant, not
#: an option: it decides where the borders of tasks lie, and these must not move with the memory at hand.
SLICE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class ReadTask:
    """Rows `start` to `stop` (exclusive) of one row group, given by its index in the inventory.

    take: None for all of them that pass where= and split=, else int64 numbers, ascending, of those to read among them.
    """

    row_group: int
    start: int
    stop: int
    take: Array | None = field(default=None, compare=False)


@dataclass(frozen=True, eq=False)
class TaskTable:
    """All read tasks of an epoch, in stored order.

    row_group: int32 `[n]`, index into the inventory. start, stop: int64 `[n]`, rows of the row group, stop
    exclusive. The tasks of one row group are consecutive and cover it without overlap.
    """

    row_group: Array
    start: Array
    stop: Array

    def __len__(self) -> int:
        return len(self.row_group)

    def task(self, index: int) -> ReadTask:
        """The read task at `index`, as plain integers."""
        return ReadTask(int(self.row_group[index]), int(self.start[index]), int(self.stop[index]))

    def select(self, keep: Array) -> TaskTable:
        """The tasks where `keep` (bool `[n]`) is True."""
        return TaskTable(self.row_group[keep], self.start[keep], self.stop[keep])


def slice_row_groups(
    rows: Array,
    keep: Array,
    row_bytes: Array,
    slice_bytes: int = SLICE_BYTES,
    slice_rows: int = 0,
    slices: int = 1,
) -> TaskTable:
    """Cuts row groups into read tasks.

    rows: int64 `[n]`, rows of each row group. keep: bool `[n]`, False for row groups left out. row_bytes: float64
    `[n]`, decoded bytes of one row. slice_bytes, slice_rows: about the most of one slice (0: any number of rows).
    slices: the least number of them, as far as there are rows. Row groups without rows give no task. Every row of a
    kept row group lies in exactly one task; slices of one row group differ by at most one row.
    """
    chosen = np.flatnonzero(keep & (rows > 0))
    counts = rows[chosen].astype(np.int64)
    wanted = np.ceil(counts * row_bytes[chosen] / slice_bytes).astype(np.int64)
    if slice_rows:
        wanted = np.maximum(wanted, -(-counts // slice_rows))
    cuts = np.clip(np.maximum(wanted, slices), 1, counts)
    row_group = np.repeat(chosen, cuts)
    total = int(cuts.sum())
    ordinal = np.arange(total) - np.repeat(np.cumsum(cuts) - cuts, cuts)
    count, parts = np.repeat(counts, cuts), np.repeat(cuts, cuts)
    # Computed as quotient and remainder so that rows × slices never overflows.
    base, rest = count // parts, count % parts
    start = ordinal * base + np.minimum(ordinal, rest)
    stop = start + base + (ordinal < rest)
    return TaskTable(row_group.astype(np.int32), start, stop)

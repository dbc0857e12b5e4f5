"""The plan of a dataset: what is read at (epoch, position), and how many rows and batches that gives."""

from __future__ import annotations

from dataclasses import dataclass

from tfpetastorm.plan.order import Shuffle, epoch_order
from tfpetastorm.plan.tasks import ReadTask, TaskTable
from tfpetastorm.schema.columns import Array

#: An endless pass leaves this many epoch numbers to itself, so that the next pass does not repeat its orders.
ENDLESS = 1 << 32


@dataclass(frozen=True)
class Key:
    """A place in the endless stream of read tasks: position `position` of epoch `epoch`."""

    epoch: int
    position: int


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """Every epoch's read tasks.

    tasks: the read tasks, stored order. rows: int64 `[n]`, rows that each gives after splits and filters; none is 0.
    epochs: epochs in one pass, None for endless. shuffle, seed: decide the order. first_epoch: the number of the
    first epoch of the first pass, or of every pass where `pinned`.
    """

    tasks: TaskTable
    rows: Array
    shuffle: Shuffle
    seed: int
    epochs: int | None = 1
    first_epoch: int = 0
    pinned: bool = False

    @property
    def rows_per_epoch(self) -> int:
        """Rows in one epoch."""
        return int(self.rows.sum())

    def order(self, epoch: int) -> Array:
        """int64 `[n]`: the index of the read task at each position of `epoch`."""
        return epoch_order(self.tasks, self.shuffle, self.seed, epoch)

    def task(self, index: int) -> ReadTask:
        """The read task with this index in `tasks`."""
        return self.tasks.task(index)

    def pass_start(self, number: int) -> int:
        """The number of the first epoch of pass `number` (from 0): passes never share an epoch, unless pinned."""
        return self.first_epoch + (0 if self.pinned else number * (self.epochs or ENDLESS))

    def batches_per_epoch(self, batch_size: int | None, drop_remainder: bool) -> int:
        """Batches in one epoch: rows where `batch_size` is None. No batch spans two epochs."""
        rows = self.rows_per_epoch
        if batch_size is None:
            return rows
        return rows // batch_size if drop_remainder else -(-rows // batch_size)

    def next_key(self, key: Key) -> Key | None:
        """What will be asked for after `key` within the same pass: crosses the ends of epochs; None after the last.

        A pinned or finite pass of `epochs` epochs starts at a multiple of `epochs` after `first_epoch`.
        """
        if key.position + 1 < len(self.tasks):
            return Key(key.epoch, key.position + 1)
        if self.epochs is None or (key.epoch + 1 - self.first_epoch) % self.epochs:
            return Key(key.epoch + 1, 0)
        return None

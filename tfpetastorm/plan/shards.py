"""How what is left of an epoch is divided among shards, in equal steps.

A shard takes an interval of the epoch's order. Since that order is another one for every seed and epoch, so is what
belongs to a shard; a row group is read by several shards only where an interval begins or ends within it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfpetastorm.errors import OptionError
from tfpetastorm.plan.stretch import Stretch
from tfpetastorm.schema.columns import Array

EVEN = ("drop", "pad", "repeat")


@dataclass(frozen=True, eq=False)
class Take:
    """What one shard takes. stretch: positions of the epoch's order. copies: int64, positions that come once more,
    after them, so that the last batch is as long as the others'. padding: whether the copies are marked as padding."""

    stretch: Stretch
    copies: Array
    padding: bool

    @property
    def total(self) -> int:
        """Samples, copies among them."""
        return self.stretch.total + len(self.copies)


@dataclass(frozen=True)
class Division:
    """A way to divide samples among shards: as many steps for each, whatever their count.

    shards: how many. batch: samples a step of all shards together; shard `i` of `n` gets
    `batch * (i + 1) // n - batch * i // n` of them. even: what happens to the tail that does not fill a step: "drop"
    leaves it out, but for one last short batch of equal length on every shard; "pad" gives every sample once and fills
    up with copies that are marked; "repeat" fills up with samples from the start. full: whether the last batch must be
    as long as the others (then a tail is left out, or filled up to a whole batch). unit: what the samples of a shard's
    last batch have to be a multiple of; a shard's batch size must be one too.
    """

    shards: int = 1
    batch: int = 1
    even: str = "drop"
    full: bool = False
    unit: int = 1

    def __post_init__(self) -> None:
        if self.even not in EVEN:
            raise OptionError(f"even= is one of {', '.join(EVEN)}, not {self.even!r}.")
        if self.batch < self.shards:
            raise OptionError(
                f"batch_size={self.batch} is the batch of all {self.shards} shards together, so it must be at least "
                f"{self.shards}: each step takes a row from every shard."
            )

    def before(self, shard: int) -> int:
        """Samples of a step that go to the shards before `shard`."""
        return self.batch * shard // self.shards

    def local(self, shard: int) -> int:
        """Samples of a step that go to `shard`: its batch size."""
        return self.before(shard + 1) - self.before(shard)

    def steps(self, total: int) -> int:
        """Steps of every shard for `total` samples."""
        return total // self.batch + bool(self._last(total, 0))

    def take(self, left: Stretch, shard: int) -> Take:
        """What `shard` takes of what is left."""
        total = left.total
        full_steps = total // self.batch
        start = full_steps * self.before(shard)
        real = left.part(start, start + full_steps * self.local(shard))
        none = np.zeros(0, np.int64)
        last = self._last(total, shard)
        if not last:
            return Take(real, none, False)
        tail = full_steps * self.batch
        begin = tail + (self.before(shard) if self._fills else shard * last)
        end = begin + last
        more = left.part(min(begin, total), min(end, total))
        stretch = real.then(more)
        missing = last - more.total
        if not missing:
            return Take(stretch, none, False)
        if self.even == "pad":
            return Take(stretch, left.positions(np.full(missing, total - 1)), True)
        numbers = np.arange(max(begin, total), end) % total
        return Take(stretch, left.positions(numbers), False)

    def left_after(self, left: Stretch, steps: int) -> Stretch:
        """What is left when every shard has made so many steps."""
        total = left.total
        full_steps = total // self.batch
        if steps >= self.steps(total):
            return left.part(0, 0)
        starts = [(full_steps * self.before(i), self.local(i)) for i in range(self.shards)]
        # A step beyond the full ones is the last one, so here all steps made were full.
        return left.without((start, start + steps * size) for start, size in starts)

    @property
    def _fills(self) -> bool:
        """Whether the last batch, if there is one, is as long as the others; else it is as long on every shard."""
        return self.even != "drop" and (self.full or self.batch % self.shards > 0)

    def _last(self, total: int, shard: int) -> int:
        """Samples of the last batch of `shard` that is not a full step's; 0 if there is none."""
        tail = total % self.batch
        if not tail:
            return 0
        if self.even == "drop":
            return 0 if self.full else tail // self.shards // self.unit * self.unit
        if self._fills:
            return self.local(shard)
        return -(-tail // self.shards // self.unit) * self.unit

"""What one of several worker processes reads of its rank's part of an epoch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from tfpetastorm.plan.epochs import EpochPlan
from tfpetastorm.plan.layout import Layout
from tfpetastorm.plan.shards import Take
from tfpetastorm.plan.stretch import Stretch


@dataclass(frozen=True, eq=False)
class WorkerPlan(EpochPlan):
    """An `EpochPlan`, of whose shard worker `worker` of `workers` makes an interval of the steps.

    Intervals, not every so many-th step: else each worker would fetch every row group. All steps of all workers are
    those that one would make, each in one worker; how many each makes differs by one at most.
    """

    worker: int = 0
    workers: int = 1

    def for_worker(self, worker: int, workers: int) -> WorkerPlan:
        """The same plan for another worker."""
        return replace(self, worker=worker, workers=workers)

    def _layout(self, epoch: int) -> Layout:
        take = self.division.take(Stretch.of([(0, self.samples.total)]), self.shard)
        size, steps = self.division.local(self.shard), self.division.steps(self.samples.total)
        base, rest = divmod(steps, self.workers)
        # Taken in turn, the workers before `rest` give one step more. The one whose turn is the last has the last
        # interval, so that a short batch comes last.
        place = (self.worker - rest) % self.workers
        begin = base * place + max(0, place - (self.workers - rest))
        end = begin + base + (self.worker < rest)
        lo, hi = begin * size, min(end * size, take.total)
        real = take.stretch.total
        stretch = take.stretch.part(min(lo, real), min(hi, real))
        copies = take.copies[max(lo - real, 0) : max(hi - real, 0)]
        return Layout(self.stream(epoch), Take(stretch, copies, take.padding))

    def __reduce__(self) -> Any:
        # Without what has been worked out so far, whose locks belong to this process.
        given = {one.name: getattr(self, one.name) for one in fields(self) if not one.name.startswith("_")}
        return _made, (given,)


def _made(given: dict[str, Any]) -> WorkerPlan:
    return WorkerPlan(**given)

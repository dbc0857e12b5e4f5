"""The plan of a dataset: what is read at (epoch, element, piece), and how many steps that gives."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from tfpetastorm.plan.layout import Element, Layout, Samples, Stream
from tfpetastorm.plan.order import Shuffle, epoch_order
from tfpetastorm.plan.position import Segment
from tfpetastorm.plan.shards import Division
from tfpetastorm.plan.stretch import Stretch
from tfpetastorm.plan.tasks import ReadTask
from tfpetastorm.schema.columns import Array

#: An endless pass leaves this many epoch numbers to itself, so that the next pass does not repeat its orders.
ENDLESS = 1 << 32

#: Epochs whose layouts are kept: that under way, the next one, and those of other iterators.
_EPOCHS = 6

#: Elements whose reads are kept: those under way and those that the look-ahead has come to.
_ELEMENTS = 16

_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Key:
    """A place in the endless stream of reads: piece `piece` of element `element` of epoch `epoch`."""

    epoch: int
    element: int
    piece: int = 0


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """Every epoch of one shard.

    samples: rows or windows. shuffle, seed: decide the order. block: samples of a block; 0 where nothing is mixed.
    epochs: epochs in one pass, None for endless. first_epoch: the number of the first epoch of the first pass, or of
    every pass where `pinned`. division, shard: how an epoch is divided, and which part is read. consumed: segments of
    the first epoch that earlier runs have made.
    """

    samples: Samples
    shuffle: Shuffle
    seed: int
    block: int = 0
    epochs: int | None = 1
    first_epoch: int = 0
    pinned: bool = False
    division: Division = field(default_factory=Division)
    shard: int = 0
    consumed: tuple[Segment, ...] = ()
    _streams: _Recent[int, Stream] = field(default_factory=lambda: _Recent(_EPOCHS), repr=False)
    # Made anew by every `replace`: they are of this shard and this place.
    _layouts: _Recent[int, Layout] = field(init=False, default_factory=lambda: _Recent(_EPOCHS), repr=False)
    _elements: _Recent[tuple[int, int], Element] = field(
        init=False, default_factory=lambda: _Recent(_ELEMENTS), repr=False
    )

    def for_shard(self, shard: int) -> EpochPlan:
        """The same plan for another shard; they share what they have worked out of the order."""
        return replace(self, shard=shard)

    def with_seed(self, seed: int) -> EpochPlan:
        """The same plan in the order of another seed."""
        return replace(self, seed=seed, _streams=_Recent(_EPOCHS))

    def from_position(self, epoch: int, consumed: tuple[Segment, ...]) -> EpochPlan:
        """The same plan from another place on: from the next epoch, where too little is left of this one for a step."""
        plan = replace(self, first_epoch=epoch, consumed=consumed)
        return plan if not consumed or plan.steps(epoch) else self.from_position(epoch + 1, ())

    # ------------------------------------------------------------------ what there is

    @property
    def mixes(self) -> bool:
        """Whether an element's samples are picked from its rows by an index."""
        return bool(self.block) or self.samples.windows is not None

    def stream(self, epoch: int) -> Stream:
        """The samples of `epoch`, not mixed."""
        return self._streams.get(epoch, lambda: self._stream(epoch))

    def layout(self, epoch: int) -> Layout:
        """The elements of this shard in `epoch`."""
        return self._layouts.get(epoch, lambda: self._layout(epoch))

    def element(self, epoch: int, number: int) -> Element:
        """One element of `epoch`."""
        return self._elements.get((epoch, number), lambda: self.layout(epoch).element(number))

    def read(self, key: Key) -> ReadTask:
        """The read task of a key."""
        return self.element(key.epoch, key.element).pieces[key.piece].read

    def stored_numbers(self, epoch: int) -> Array:
        """int64: the stored numbers of the samples of this shard in `epoch`, in the order in which they come."""
        return self.stream(epoch).stored_at(self.layout(epoch).positions())

    # ------------------------------------------------------------------ how much there is

    def pass_start(self, number: int) -> int:
        """The number of the first epoch of pass `number` (from 0): passes never share an epoch, unless pinned."""
        return self.first_epoch + (0 if self.pinned else number * (self.epochs or ENDLESS))

    def steps(self, epoch: int) -> int:
        """Steps of every shard in `epoch`. No batch spans two epochs."""
        return self.division.steps(self._left(epoch).total) - self._done(epoch)

    def next_key(self, key: Key) -> Key | None:
        """What will be asked for after `key` within the same pass: crosses the ends of epochs; None after the last.

        A pinned or finite pass of `epochs` epochs starts at a multiple of `epochs` after `first_epoch`.
        """
        if key.piece + 1 < len(self.element(key.epoch, key.element).pieces):
            return Key(key.epoch, key.element, key.piece + 1)
        if key.element + 1 < len(self.layout(key.epoch)):
            return Key(key.epoch, key.element + 1)
        if self.epochs is None or (key.epoch + 1 - self.first_epoch) % self.epochs:
            return Key(key.epoch + 1, 0)
        return None

    def position_after(self, steps: int) -> tuple[int, tuple[Segment, ...]]:
        """Where the first pass is after so many steps: the epoch, and its consumed segments."""
        first = self.steps(self.first_epoch)
        if steps >= first:
            # The epochs after the first are alike.
            whole = self.steps(self.first_epoch + 1)
            skipped, rest = divmod(steps - first, whole)
            return self.first_epoch + 1 + skipped, (Segment(self.division, rest),) if rest else ()
        if not steps:
            return self.first_epoch, self.consumed
        made = self._done(self.first_epoch)
        before = self.consumed[:-1] if made else self.consumed
        return self.first_epoch, (*before, Segment(self.division, made + steps))

    # ------------------------------------------------------------------ steps towards it

    def _stream(self, epoch: int) -> Stream:
        samples = self.samples
        slices = bool(self.block) and samples.units is None
        order = epoch_order(samples.tasks, self.shuffle, self.seed, epoch, samples.units, slices)
        return Stream(samples, order[samples.count[order] > 0], self.seed, epoch, self.block)

    def _left(self, epoch: int) -> Stretch:
        """What is left of `epoch` when this plan's own division of it begins."""
        left = Stretch.of([(0, self.samples.total)])
        if epoch == self.first_epoch:
            for segment in self.consumed[:-1] if self._done(epoch) else self.consumed:
                left = segment.division.left_after(left, segment.steps)
        return left

    def _done(self, epoch: int) -> int:
        """Steps that were made in `epoch` under this plan's own division."""
        if epoch != self.first_epoch or not self.consumed or self.consumed[-1].division != self.division:
            return 0
        return self.consumed[-1].steps

    def _layout(self, epoch: int) -> Layout:
        take = self.division.take(self._left(epoch), self.shard)
        made = self._done(epoch) * self.division.local(self.shard)
        return Layout(self.stream(epoch), replace(take, stretch=take.stretch.part(made, take.stretch.total)))


class _Recent(Generic[_K, _T]):
    """Keeps the most recently used results of a function. Threads may share one; one works, the others wait."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[_K, _T] = OrderedDict()

    def get(self, key: _K, make: Callable[[], _T]) -> _T:
        """What was kept under `key`, or else what `make` gives."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
            return self._kept[key]

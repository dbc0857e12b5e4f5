"""`tfpetastorm shuffle-quality URL`: what different blocks of a shuffle are worth, and what they cost."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfpetastorm.cli.text import size_text
from tfpetastorm.errors import OptionError
from tfpetastorm.feed.planning import Planned, plan_tasks
from tfpetastorm.feed.skip import SkipLedger
from tfpetastorm.plan.epochs import EpochPlan
from tfpetastorm.plan.order import Shuffle
from tfpetastorm.plan.quality import Quality, density, measure, perfect, sampled_positions
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.fetch import Source
from tfpetastorm.read.nulls import NullPolicy
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.codecs import OpaqueCodec
from tfpetastorm.schema.codecs.opaque import raw_field
from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.dataset import StoredDataset

#: More rows than this are sampled.
MOST_ROWS = 5_000_000
#: Larger blocks are not looked at: each has to be permuted as a whole.
LARGEST_BLOCK = 20_000_000
#: Smaller blocks in larger datasets are sampled too: each takes a moment of its own.
_MOST_BLOCKS = 20_000
#: A budget that stands in no block's way: what a block takes is told instead.
_ANY_BUDGET = 1 << 62
#: Pictures are this fine, and draw so many rows one by one.
_BINS, _POINTS = 144, 6000
_TERMINAL_BINS = (24, 12)


@dataclass(frozen=True, eq=False)
class Trial:
    """One way to shuffle.

    name: what to call it. block_rows: rows of a block, 0 where nothing is mixed. memory: bytes that a block takes on
    its way to a batch. quality: the mean over epochs. coarse, fine: densities for pictures, of the first epoch. points:
    positions and stored numbers of some rows, where there are few enough to draw each.
    """

    name: str
    block_rows: int
    memory: int
    quality: Quality
    coarse: Array
    fine: Array
    points: tuple[Array, Array] | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several ways to shuffle one dataset. measured: rows looked at in each epoch. ideal: of a perfect shuffle."""

    rows: int
    row_groups: int
    batch: int
    epochs: int
    seed: int
    measured: int
    budget: int
    ideal: Quality
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, Any]:
        """The numbers as JSON values."""
        plain = {name: value for name, value in vars(self).items() if name not in ("ideal", "trials")}
        trials = [
            {"name": t.name, "block_rows": t.block_rows, "memory": t.memory, **asdict(t.quality)} for t in self.trials
        ]
        return {**plain, "perfect": asdict(self.ideal), "trials": trials}


def compare(
    stored: StoredDataset,
    shuffles: Sequence[Shuffle],
    *,
    fields: Sequence[str] | None = None,
    batch: int = 1024,
    seed: int | None = None,
    epochs: int = 3,
    most: int = MOST_ROWS,
    largest: int = LARGEST_BLOCK,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Works out the orders of `epochs` epochs under each of the shuffles; a choice of blocks where there are none.

    fields: names or regular expressions of the fields that will be read; they decide what a row takes in memory, and so
    the default block. most: rows looked at in each epoch, a sample if there are more. largest: rows of a block at most.
    Reads footers only. Raises OptionError for a dataset without rows or a block that is too large.
    """
    total = stored.num_rows
    if not total:
        raise OptionError(f"{stored.url} has no rows to shuffle.")
    seed = secrets.randbits(31) if seed is None else seed
    spec = _spec(stored, fields)
    reader = TaskReader(spec, stored.file_metadata)

    def planned(shuffle: Shuffle) -> Planned:
        options = PoolOptions("inline", budget_bytes=_ANY_BUDGET)
        return plan_tasks(stored, spec, reader, options, SkipLedger(None), shuffle)

    default = planned(Shuffle()).block
    chosen = list(shuffles) or _usual(default, total, largest)
    borders = np.cumsum(stored.inventory.row_group_rows)
    plans = [planned(shuffle) for shuffle in chosen]
    block = max(min(plan.block, total) for plan in plans)
    if block > largest:
        raise OptionError(f"A block of {block:,} rows is too large to look at; {largest:,} are the most.")
    smallest = min((plan.block for plan in plans if plan.block), default=total)
    positions = sampled_positions(total, batch, min(most, smallest * _MOST_BLOCKS), seed)
    trials: list[Trial] = []
    for shuffle, plan in zip(chosen, plans, strict=True):
        epoch_plan = EpochPlan(plan.samples, shuffle, seed, plan.block)
        found = []
        first = np.zeros(0, np.int64)
        for epoch in range(epochs):
            order = epoch_plan.stream(epoch).stored_at(positions)
            found.append(measure(positions, order, total, batch, borders))
            first = order if not epoch else first
            if progress is not None:
                done = len(trials) * epochs + epoch + 1
                progress(done * len(positions), len(chosen) * epochs * len(positions))
        trials.append(_trial(plan, min(plan.block, total), default, total, found, positions, first))
    return Comparison(
        rows=total,
        row_groups=len(stored.row_groups),
        batch=batch,
        epochs=epochs,
        seed=seed,
        measured=len(positions),
        budget=PoolOptions().budget_bytes,
        ideal=perfect(total, batch, borders),
        trials=tuple(trials),
    )


def _usual(default: int, total: int, largest: int) -> list[Shuffle]:
    """No block, a smaller one, the default, a larger one, all rows: what there is of it."""
    sizes = (default // 4, default, default * 4) if default < total else (total // 16, total // 4)
    within = sorted({size for size in sizes if 1 < size < min(total, largest + 1)})
    whole = [total] if total <= largest else []
    return [Shuffle(rows=False), *(Shuffle(block_rows=size) for size in [*within, *whole])]


def _spec(stored: StoredDataset, fields: Sequence[str] | None) -> ReadSpec:
    schema = Unischema.rebuilt(
        stored.schema.schema_name, [raw_field(f) if isinstance(f.codec, OpaqueCodec) else f for f in stored.schema]
    )
    chosen = tuple(schema.fields) if fields is None else schema.select(fields)
    read = [schema.fields[name] for name in chosen]
    source = Source(stored.filesystem, stored.inventory, stored.column_paths, stored.partition_fields)
    return ReadSpec(source, schema, tuple(chosen), NullPolicy("error", read), tuple(read), stored.filter_schema, None)


def _trial(
    plan: Planned, block: int, default: int, total: int, found: list[Quality], positions: Array, order: Array
) -> Trial:
    counts = plan.samples.count
    mean = float((counts * plan.row_bytes).sum() / total)
    # At least a dozen rows a cell, or chance shows.
    fine = int(min(_BINS, max(8, np.sqrt(len(positions) / 16))))
    return Trial(
        name=_name(block, default, total, mean),
        block_rows=block,
        memory=plan.held + int(block * mean),
        quality=Quality(*(float(np.mean([getattr(q, name) for q in found])) for name in Quality.__dataclass_fields__)),
        coarse=density(positions, order, total, _TERMINAL_BINS),
        # A sample has gaps, which must not show.
        fine=density(positions, order, total, (fine if len(positions) == total else min(fine, 48), fine)),
        points=(positions, order) if total <= _POINTS else None,
    )


def _name(block: int, default: int, total: int, row_bytes: float) -> str:
    if not block:
        return "row groups only"
    size = size_text(int(block * row_bytes))
    if block == total:
        return f"all rows, {size}" + (" (default)" if default >= total else "")
    return f"{block:,} rows, {size}" + (" (default)" if block == default else "")

"""Parts of a dataset for readers that always read the same rows: disjoint, complete, equal but for one sample.

`shards.Division` divides every epoch anew, in equal steps; here a part is the same in every epoch, as petastorm's
`cur_shard` is, so that a worker may cache its own.
"""

from __future__ import annotations

import numpy as np

from tfpetastorm.plan.hashing import key64, mix64
from tfpetastorm.plan.layout import Samples
from tfpetastorm.plan.tasks import TaskTable
from tfpetastorm.plan.windows import WindowIndex, merged
from tfpetastorm.schema.columns import Array


def part_of(samples: Samples, index: int, count: int, seed: int | None) -> Samples:
    """Part `index` of `count` of samples that no filter has counted (windows may have been): an interval of their
    stored order, or with a seed of an order in which units (row groups unless given) are permuted. Of a unit at a
    border, several parts have some samples."""
    order = _order(samples, seed)
    sizes = samples.count[order]
    ends = np.cumsum(sizes)
    total = samples.total
    lo, hi = total * index // count, total * (index + 1) // count
    # Within each task: the samples that lie in the interval.
    low = np.clip(lo - (ends - sizes), 0, sizes)
    high = np.clip(hi - (ends - sizes), 0, sizes)
    some = high > low
    tasks, low, high = order[some], low[some], high[some]
    stored = np.argsort(tasks)
    return _selected(samples, tasks[stored], low[stored], high[stored])


def _order(samples: Samples, seed: int | None) -> Array:
    if seed is None:
        return np.arange(len(samples.tasks))
    units = samples.tasks.row_group if samples.units is None else samples.units
    return np.argsort(mix64(mix64(units) ^ key64("parts", seed)), kind="stable")


def _selected(samples: Samples, tasks: Array, low: Array, high: Array) -> Samples:
    """The samples `low` to `high` of these tasks (ascending)."""
    if samples.windows is None:
        table = samples.tasks
        start = table.start[tasks] + low
        part = TaskTable(table.row_group[tasks], start, start + (high - low))
        return Samples(
            part, high - low, samples.selected, None, None if samples.units is None else samples.units[tasks]
        )
    # The tasks stay: any of them may hold the last rows of a window.
    windows = _windows(samples.windows, samples.first[tasks] + low, samples.first[tasks] + high)
    borders = samples.first_row
    return Samples(samples.tasks, np.diff(windows.before(borders)), samples.selected, windows, samples.units)


def _windows(windows: WindowIndex, low: Array, high: Array) -> WindowIndex:
    """The windows with numbers in any of the intervals from `low` to `high`, which ascend and do not overlap."""
    # Cut where an interval or a segment begins; what lies in an interval is kept.
    segments = np.zeros(len(windows.count) + 1, np.int64)
    np.cumsum(windows.count, out=segments[1:])
    cuts = np.unique(np.concatenate([segments, low, high]))
    starts, stops = cuts[:-1], cuts[1:]
    inside = np.searchsorted(low, starts, "right") - 1
    kept = (inside >= 0) & (starts < high[np.maximum(inside, 0)]) if len(low) else np.zeros(len(starts), bool)
    starts, stops = starts[kept], stops[kept]
    first = windows.starts(starts)
    return merged(first, stops - starts, windows.stride, windows.length, windows.reason or "none falls to this part.")

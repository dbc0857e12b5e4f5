"""From a reader's options to what it reads: the fields, the row groups, the part of a shard, the plan."""

from __future__ import annotations

import secrets
import warnings
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfpetastorm.errors import NoDataAvailableError, NoFieldsError, OptionError
from tfpetastorm.feed.elements import ElementReader
from tfpetastorm.feed.options import specify
from tfpetastorm.feed.planning import count_rows, plan_tasks
from tfpetastorm.feed.skip import SkipLedger
from tfpetastorm.plan.epochs import EpochPlan
from tfpetastorm.plan.layout import Samples
from tfpetastorm.plan.ngram import NGram, ResolvedWindows
from tfpetastorm.plan.order import Shuffle
from tfpetastorm.plan.parts import part_of
from tfpetastorm.plan.tasks import TaskTable
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.nulls import Nulls
from tfpetastorm.read.predicate import AllOf, predicate_of
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.reader.arguments import Shard
from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.dataset import StoredDataset


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a reader is asked for, in the engine's terms. batched: whether predicates of the user's own are called with
    columns. slices: into how many parts each row group is cut, which are permuted for themselves. times: int64, how
    often each row group is read in an epoch."""

    fields: Iterable[Any] | None
    ngram: NGram | None
    predicate: Any
    filters: Any
    selector: Any
    transform: Any
    shuffle: Shuffle
    seed: int | None
    slices: int
    shard: Shard
    epochs: int | None
    pool: PoolOptions
    cache: Any
    batched: bool
    times: Array


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a reader reads. schema: of what comes out. elements: None where there is nothing. mistake: what is wrong
    with the predicate, told when a row is asked for, as petastorm does."""

    schema: Unischema
    spec: ReadSpec
    windows: ResolvedWindows | None
    elements: ElementReader | None
    samples: Samples | None
    mistake: OptionError | None
    task_reader: TaskReader
    options: PoolOptions
    row_bytes: Array

    @property
    def counted(self) -> bool:
        """Whether the plan knows exactly how many rows come out."""
        return self.windows is not None or not self.spec.selects


def prepare(stored: StoredDataset, wanted: Wanted) -> Prepared:
    """Raises OptionError for what can't work, NoFieldsError where no field is left, NoDataAvailableError where there
    are more shards than rows. Warns where filters leave nothing to read."""
    fields = wanted.fields if wanted.ngram is not None else _chosen(stored.schema, wanted.fields, stored.url)
    spec, windows = specify(
        stored,
        fields,
        (),
        where=wanted.filters,
        split=None,
        transform=wanted.transform,
        nulls=Nulls.KEEP,
        skip=None,
        ngram=wanted.ngram,
    )
    spec, mistake = _with_predicate(stored, spec, wanted)
    if wanted.cache is not None:
        spec = replace(spec, cache=wanted.cache)
    schema = Unischema.rebuilt(stored.schema.schema_name, spec.output)
    footers = weakref.WeakMethod(stored.file_metadata)
    reader = TaskReader(spec, lambda file: method(file) if (method := footers()) is not None else None)
    ledger = SkipLedger(None)
    among = None if wanted.selector is None else _among(stored, wanted.selector)
    planned = plan_tasks(
        stored,
        spec,
        reader,
        wanted.pool,
        ledger,
        wanted.shuffle,
        windows,
        among=among,
        counted=False,
        slices=wanted.slices,
    )
    if windows is not None:
        reader = reader.unselective()
    samples = planned.samples
    if wanted.times.max(initial=1) > 1:
        samples = _repeated(samples, wanted.times)
    if wanted.shard.count > 1:
        samples = _part(samples, wanted.shard)
    if not samples.total:
        warnings.warn(
            f"No matching data is available for loading: filters, the selector and the shard leave nothing of "
            f"{stored.url}.{f' {planned.reason}' if planned.reason else ''}",
            stacklevel=4,
        )
        return Prepared(schema, spec, windows, None, None, mistake, reader, wanted.pool, planned.row_bytes)
    seed = secrets.randbits(63) if wanted.seed is None else wanted.seed
    block = min(planned.block, samples.total)
    plan = EpochPlan(samples, wanted.shuffle, seed, block, wanted.epochs)
    row_bytes = planned.row_bytes if windows is not None else _row_bytes(planned.samples, samples, planned.row_bytes)
    options = replace(wanted.pool, budget_bytes=wanted.pool.budget_bytes - planned.held)
    elements = ElementReader(plan, reader, options, row_bytes, ledger, not spec.selects or windows is not None)
    return Prepared(schema, spec, windows, elements, samples, mistake, reader, options, row_bytes)


def rows_of(stored: StoredDataset, prepared: Prepared, pool: PoolOptions) -> int:
    """How many rows (or n-grams) one epoch has: by an index pass where a predicate decides it."""
    if prepared.samples is None:
        return 0
    if prepared.counted:
        return prepared.samples.total
    reader = TaskReader(prepared.spec)
    return int(count_rows(stored, prepared.spec, reader, pool, prepared.samples.tasks, SkipLedger(None)).sum())


def _chosen(schema: Unischema, fields: Iterable[Any] | None, url: str) -> list[str] | None:
    """The names of the fields. A name or pattern that matches nothing is passed over with a warning, as long as
    another one matches; a field that is not there is an error."""
    if fields is None:
        return None
    names: list[str] = []
    idle: list[Any] = []
    for item in fields:
        try:
            names += schema.select([item])
        except ValueError:
            if isinstance(item, UnischemaField):
                raise
            idle.append(item)
    if not names:
        raise NoFieldsError(
            f"No fields matching the criteria {idle!r} were found in {url}: it has {list(schema.fields)}."
        )
    if idle:
        warnings.warn(
            f"schema_fields: {idle!r} match no field of {url}; there are {list(schema.fields)}.", stacklevel=5
        )
    return names


def _with_predicate(stored: StoredDataset, spec: ReadSpec, wanted: Wanted) -> tuple[ReadSpec, OptionError | None]:
    if wanted.predicate is None:
        return spec, None
    try:
        found = predicate_of(
            wanted.predicate, list(stored.schema.fields), stored.filter_schema, stored, batched=wanted.batched
        )
    except OptionError as error:
        # Petastorm's users meet this error when they read, not when they make the reader.
        return spec, error
    if found is None:
        return spec, None
    return replace(spec, where=found if spec.where is None else AllOf((spec.where, found))), None


def _repeated(samples: Samples, times: Array) -> Samples:
    """The samples of each row group as often as `times` says."""
    if samples.windows is not None:
        raise OptionError("A file is listed more than once, and n-grams can't come twice; list it once.")
    table = samples.tasks
    often = np.repeat(np.arange(len(table)), times[table.row_group])
    tasks = TaskTable(table.row_group[often], table.start[often], table.stop[often])
    units = None if samples.units is None else np.arange(len(often))
    return Samples(tasks, samples.count[often], samples.selected, None, units)


def _part(samples: Samples, shard: Shard) -> Samples:
    if samples.total and samples.total < shard.count:
        groups = len(np.unique(samples.tasks.row_group))
        raise NoDataAvailableError(
            f"Number of row-groups in the dataset is {groups}, with {samples.total} rows or n-grams in all: too few "
            f"for {shard.count} shards, some of which would be empty."
        )
    return part_of(samples, shard.index, shard.count, shard.seed)


def _row_bytes(all_samples: Samples, samples: Samples, row_bytes: Array) -> Array:
    """What a row of each of a part's tasks costs: what it costs in the row group."""
    groups = all_samples.tasks.row_group
    found: Array = row_bytes[np.searchsorted(groups, samples.tasks.row_group)]
    return found


def _among(stored: StoredDataset, selector: Any) -> Array:
    from tfpetastorm.storage.row_group_index import selected_row_groups

    return selected_row_groups(stored, selector)

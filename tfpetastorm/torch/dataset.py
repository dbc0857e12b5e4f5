"""A dataset for PyTorch's own `DataLoader`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cloudpickle
import torch
from torch.utils.data import IterableDataset, get_worker_info

from tfpetastorm.errors import OptionError
from tfpetastorm.feed.elements import ElementReader
from tfpetastorm.feed.options import specify
from tfpetastorm.feed.planning import plan_tasks
from tfpetastorm.feed.skip import Skip, SkipLedger
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.plan.order import Shuffle
from tfpetastorm.plan.shards import Division
from tfpetastorm.plan.split import Split
from tfpetastorm.pool.options import PoolOptions, available_cores
from tfpetastorm.read.ops import concat, rows_between, take
from tfpetastorm.read.task import TaskReader
from tfpetastorm.read.transform import Transform
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.columns import Column
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.stores.filesystem import is_local
from tfpetastorm.torch.packing import PackedBatch
from tfpetastorm.torch.part import WorkerPlan
from tfpetastorm.torch.ranks import Rank
from tfpetastorm.torch.values import Values

#: Rows made at once where they are given one by one.
_ROWS_AT_ONCE = 1024

#: The field that tells rows from padding.
_MASK = "row_mask"


@dataclass(frozen=True, eq=False)
class _Run:
    """Rows for a batch: those of the columns from `start` to `stop`. real: whether they are not padding."""

    columns: dict[str, Column]
    start: int
    stop: int
    real: bool


class ParquetDataset(IterableDataset):
    """A Parquet dataset as batches of tensors: dicts by field.

    Give it to `torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=...)`, or iterate it as it is. Batches
    are made here, by columns; with `batch_size=None` it gives single rows, which is slow.

    Every rank has equally many steps, and the rows of all ranks are each row once, but for what `even` says. Worker
    processes divide what their rank reads: each step is made by one of them, so that what comes is the same, and in
    which order depends on `num_workers` and on nothing else.

    Args:
        url: a path, URL, glob, list of files, or what `open_dataset` returned.
        fields: names, regular expressions that match a whole name, or fields; all by default.
        batch_size: rows of a batch of one rank; None for single rows.
        drop_remainder: leave out the last batch of an epoch if it is short.
        shuffle: permute row groups and mix rows in blocks, each epoch anew; or a `Shuffle`.
        seed: decides every order, also what each rank reads. None draws one, which several ranks can't do.
        rank, world_size: which part of each epoch to read; by default what `torch.distributed` says when this is made.
        even: what several ranks do with the rows that fill no step: "drop" them, "repeat" some, or "pad", which marks
            what it fills up by False in the bool field `row_mask`.
        epochs: epochs in one pass. epoch: the number of the first one, see `set_epoch`.
        where, split, transform, nulls, on_error, pool, filesystem, codecs, unmapped, sidecar: see `make_dataset`.
            In worker processes "thread" is one thread that reads ahead.
        ragged: what becomes of fields of variable shape: "list", "pad", or by field one of these or a size (see
            `Values`).

    Raises:
        OptionError: an argument can't work. DatasetError, SchemaError: the dataset can't be opened.
        MemoryBudgetError: see `make_dataset`.
    """

    def __init__(
        self,
        url: Any,
        *,
        fields: Iterable[Any] | None = None,
        batch_size: int | None = None,
        drop_remainder: bool = False,
        shuffle: bool | Shuffle = False,
        seed: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        even: str | None = None,
        epochs: int = 1,
        epoch: int = 0,
        where: Any = None,
        split: Split | tuple[str, float] | None = None,
        transform: Transform | Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
        nulls: Any = "error",
        ragged: Any = "list",
        on_error: str | Skip = "raise",
        pool: str | PoolOptions = "thread",
        filesystem: Any = None,
        codecs: Iterable[type[Codec]] = (),
        unmapped: Any = "error",
        sidecar: Any = "auto",
    ) -> None:
        super().__init__()
        self._batch_size = None if batch_size is None else whole_number("batch_size", batch_size, 1)
        self._epochs = whole_number("epochs", epochs, 1)
        self._rank = Rank.of(rank, world_size)
        count = self._rank.world_size
        if count > 1 and even is None:
            raise OptionError(
                f"{count} ranks need equally many steps, so say what happens to rows that fill no step: "
                'even="drop" or "repeat" for training, even="pad" for evaluation.'
            )
        if seed is None and shuffle and count > 1:
            raise OptionError("seed=None draws a seed, and every rank would draw its own: give all ranks one seed.")
        seed = secrets.randbits(63) if seed is None else whole_number("seed", seed)
        division = Division(count, count * (self._batch_size or 1), even or "drop", drop_remainder)
        options = PoolOptions.of(pool)
        skip = Skip.of(on_error)
        stored = url
        if not isinstance(url, StoredDataset):
            stored = open_dataset(url, filesystem=filesystem, codecs=codecs, unmapped=unmapped, sidecar=sidecar)
        options = options.on(is_local(stored.filesystem))
        self._skip_rows = None if skip is None else skip.rows(stored.num_rows)
        ledger = SkipLedger(self._skip_rows)
        spec, _ = specify(
            stored, fields, (), where=where, split=split, transform=transform, nulls=nulls, skip=skip, ngram=None
        )
        self._marked = division.even == "pad"
        if self._marked and any(field.name == _MASK for field in spec.output):
            raise OptionError(
                f'even="pad" adds the field {_MASK!r}, which there is already: leave it out or rename it.'
            )
        self._spec = spec
        self._values = Values(spec.output, ragged)
        shuffling = Shuffle.of(shuffle)
        reader = TaskReader(spec, stored.file_metadata)
        planned = plan_tasks(stored, spec, reader, options, ledger, shuffling)
        reader.close()
        if not planned.samples.total:
            raise OptionError(
                f"{stored.url} has no rows for these options; where= and split= leave none of {stored.num_rows}."
            )
        self._plan = WorkerPlan(
            planned.samples, shuffling, seed, planned.block, self._epochs, division=division, shard=self._rank.rank
        )
        if not self._plan.division.steps(planned.samples.total):
            raise OptionError(
                f"{planned.samples.total} rows leave no step for batch_size={batch_size} and {count} rank(s): use "
                'even="pad" or "repeat", a smaller batch_size, or drop_remainder=False.'
            )
        self._row_bytes = planned.row_bytes
        self._options = replace(options, budget_bytes=options.budget_bytes - planned.held)
        self._one_thread = not isinstance(pool, PoolOptions)
        # Shared with worker processes, so that those which live on hear of the next epoch.
        self._epoch = torch.tensor(whole_number("epoch", epoch, 0)).share_memory_()
        self._stored: StoredDataset | None = stored
        self._source: tuple[tuple[int, ...], ElementReader] | None = None

    def set_epoch(self, epoch: int) -> None:
        """The number of the (first) epoch of the passes that begin from now on, also in worker processes that live on.
        Each epoch of a shuffled dataset has its own order, and ranks share out each anew: call this on all ranks
        before each pass, as with `DistributedSampler`."""
        self._epoch.fill_(whole_number("epoch", epoch, 0))

    @property
    def epoch(self) -> int:
        """The number of the (first) epoch of the next pass."""
        return int(self._epoch.item())

    @property
    def seed(self) -> int:
        """The seed, also one that was drawn."""
        return self._plan.seed

    def __len__(self) -> int:
        """The steps of a pass on each rank: batches, or rows where they come one by one."""
        return self._epochs * self._plan.division.steps(self._plan.samples.total)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._rank.check()
        first = self.epoch
        source = self._source_here()
        size = self._batch_size or _ROWS_AT_ONCE
        for epoch in range(first, first + self._epochs):
            for batch in self._batches(source, epoch, size):
                if self._batch_size is not None:
                    yield batch if get_worker_info() is None else PackedBatch(batch)
                else:
                    rows = len(next(iter(batch.values())))
                    yield from ({name: values[row] for name, values in batch.items()} for row in range(rows))

    # ------------------------------------------------------------------ steps

    def _source_here(self) -> ElementReader:
        """What reads in this process, for this worker. Made where it is used: threads don't outlive a fork."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        key = (os.getpid(), worker, workers)
        if self._source is None or self._source[0] != key:
            options = self._options
            if info is not None and self._one_thread:
                # Each worker process of torch's is a share of the cores already.
                options = replace(options, workers=max(1, options.count // available_cores()))
            metadata = None if self._stored is None else self._stored.file_metadata
            reader = TaskReader(self._spec, metadata)
            plan = self._plan.for_worker(worker, workers)
            self._source = key, ElementReader(plan, reader, options, self._row_bytes, SkipLedger(self._skip_rows))
        return self._source[1]

    def _batches(self, source: ElementReader, epoch: int, size: int) -> Iterator[dict[str, Any]]:
        waiting: list[_Run] = []
        rows = 0
        for number in range(len(source.plan.layout(epoch))):
            found = source.read(epoch, number)
            columns = found.columns
            if found.index is not None:
                # At once: batch by batch it takes several times as long.
                columns = {name: take(column, found.index) for name, column in columns.items()}
            total = next(iter(columns.values())).rows
            start = 0
            while start < total:
                stop = min(start + size - rows, total)
                waiting.append(_Run(columns, start, stop, not found.element.padding))
                rows += stop - start
                start = stop
                if rows == size:
                    yield self._batch(waiting)
                    waiting, rows = [], 0
        if waiting:
            yield self._batch(waiting)

    def _batch(self, runs: list[_Run]) -> dict[str, Any]:
        parts = [
            {name: rows_between(column, run.start, run.stop) for name, column in run.columns.items()} for run in runs
        ]
        batch = self._values.of({name: concat([part[name] for part in parts]) for name in parts[0]})
        if self._marked:
            batch[_MASK] = torch.cat([torch.full((run.stop - run.start,), run.real) for run in runs])
        return batch

    # ------------------------------------------------------------------ to other processes

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_stored": None, "_source": None}
        # Functions of the user's own, which pickle knows by name only.
        state["_spec"] = cloudpickle.dumps(state["_spec"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._spec = cloudpickle.loads(state["_spec"])

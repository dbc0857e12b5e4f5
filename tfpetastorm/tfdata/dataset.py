"""`make_dataset`: a Parquet dataset as a `tf.data.Dataset`."""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from tfpetastorm.errors import DamagedDataError, OptionError, Place
from tfpetastorm.feed.elements import SourceStats
from tfpetastorm.feed.options import order_options, specify
from tfpetastorm.feed.planning import plan_tasks
from tfpetastorm.feed.skip import Skip, SkipLedger
from tfpetastorm.plan.epochs import EpochPlan
from tfpetastorm.plan.ngram import NGram, Window
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.plan.order import Shuffle
from tfpetastorm.plan.position import Position
from tfpetastorm.plan.split import Split
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.cache import DiskCache
from tfpetastorm.read.result import Damage
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.read.transform import Transform
from tfpetastorm.read.transform_spec import TransformSpec
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.stores.filesystem import is_local
from tfpetastorm.tfdata.division import division_of, emitted_batch
from tfpetastorm.tfdata.forming import Forming
from tfpetastorm.tfdata.graph import graph_of
from tfpetastorm.tfdata.handle import attach, handle_of
from tfpetastorm.tfdata.sharding import ShardChoice, resolve_shard
from tfpetastorm.tfdata.source import ElementSource
from tfpetastorm.tfdata.structure import Padding, Structure


@dataclass(frozen=True, eq=False)
class _Handle:
    """What a dataset object of ours carries: its source, the way its elements are used, and how it can be made again
    from another position. steps: batches of the first pass; None: endless."""

    source: ElementSource
    stored: StoredDataset
    choice: ShardChoice
    steps: int | None
    order: Position
    restarted: Callable[[Position | None], Any]

    @property
    def elements(self) -> int | None:
        """See `Handle`."""
        if self.steps is None or self.choice.replicas > 1 or self.source.plan.consumed:
            return None
        return self.steps // self.choice.steps_of_element

    @property
    def stats(self) -> SourceStats:
        """See `Handle`."""
        return self.source.stats

    def close(self) -> None:
        """See `Handle`."""
        self.source.pool.close()


def make_dataset(
    url: Any,
    *,
    fields: Iterable[Any] | None = None,
    label: str | Sequence[str] | None = None,
    batch_size: int | None = None,
    drop_remainder: bool = False,
    epochs: int | None = 1,
    epoch: int | None = None,
    shuffle: bool | Shuffle = False,
    seed: int | None = None,
    shard: Any = "auto",
    even: str | None = None,
    ngram: NGram | Window | None = None,
    start: Position | None = None,
    where: Any = None,
    split: Split | tuple[str, float] | None = None,
    transform: Transform | TransformSpec | Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
    cache: DiskCache | str | os.PathLike[str] | None = None,
    nulls: Any = "error",
    ragged: Any = "ragged",
    on_error: str | Skip = "raise",
    pool: str | PoolOptions = "thread",
    filesystem: Any = None,
    codecs: Iterable[type[Codec]] = (),
    unmapped: str = "error",
    sidecar: str = "auto",
) -> Any:
    """A Parquet dataset as a `tf.data.Dataset`, every element of which is a function of the dataset and these options.

    Args:
        url: a path, URL, glob, list of files, or what `open_dataset` returned.
        fields: names, regular expressions that match a whole name, or fields; all by default. The schema's order is
            kept.
        label: a field's name: elements are then `(features, label)` for Keras. Several names make a dict of labels.
        batch_size: rows (or n-grams) a batch, of all shards together. None gives one element a row, which is slow;
            batch here rather than later.
        drop_remainder: leave out the last batch of an epoch if it is short; gives a static batch dimension.
        epochs: epochs in one pass; None for endless. No batch spans two epochs.
        epoch: pins the number of the (first) epoch of every pass. Without it each pass, that is each `iter()`, goes on
            where the one before ended, so that a shuffled dataset never repeats an order.
        shuffle: permute row groups and mix rows in blocks, each epoch anew; or a `Shuffle`.
        seed: decides every order; 0 is a seed. None draws one, which several shards can't do.
        shard: which part of each epoch to read: "auto", the part of this worker where a strategy with several workers
            is in scope; `(index, count)`; or a `tf.distribute.InputContext`. All shards have equally many steps.
        even: what several shards do with the rows that fill no step: "drop" them; "pad", so that every row comes once
            and what fills up is marked (by a sample weight of 0.0 after the label, or without a label by the bool
            field `row_mask`); or "repeat" some.
        ngram: an `NGram` or a `Window`: elements of consecutive rows. With an `NGram` elements are
            `{offset: {field: tensor}}`, with a `Window` fields are stacked to `[batch, length, *shape]`.
        start: a `Position` to go on from: the first pass has what is left of its epoch, then `epochs - 1` whole ones.
        where: the rows to read: tuples such as `[("speed", ">", 2.0)]` (a list of lists is an or of ands), a
            `pyarrow.compute` expression, a function whose parameters are names of fields, or a `ColumnPredicate`.
        split: ("train", 0.9), ("test", 0.1) or a `Split`: rows chosen by a stable hash.
        transform: a NumPy function on columns that runs in the pool, or a `Transform`, which declares changed fields;
            or a `TransformSpec`, whose function gets pandas DataFrames.
        cache: a `DiskCache`, or the path of one, that keeps what was decoded for further epochs and processes.
        nulls: "error"; "mask" adds a bool field `<name>_valid`; or a mapping from fields to fill values.
        ragged: "ragged", "pad", or a mapping from fields to "pad" or a size (see `Padding`).
        on_error: "raise", or `Skip(budget=...)` to leave damaged rows out.
        pool: "thread", "process", "inline" or `PoolOptions`.
        filesystem: a pyarrow or fsspec filesystem on which `url` is a path.
        codecs: the user's own codec classes that the dataset names.
        unmapped: "error", or "omit" to leave out columns of plain Parquet that have no mapping.
        sidecar: "auto", "always" or "never": where footers and counts are cached beside the dataset.

    Returns:
        A dataset of dicts from field to tensor, or `(features, label)`. Tensors are `[batch, *shape]`, or
        `tf.RaggedTensor` where the shape has a None; str, bytes and Decimal are strings, datetime64 is int64 in its
        unit, dates are int32 days. Its cardinality is exact, in batches; unknown with several shards or replicas, since
        a step may take a part of a batch, or several, and from the middle of an epoch, since later passes are longer:
        `steps` tells.

    Raises:
        OptionError: an argument can't work. PositionError: `start` belongs to another dataset or other options.
        DatasetError, SchemaError: the dataset can't be opened. MemoryBudgetError: one read task, or a block of rows to
        mix, exceeds the budget. Errors met while reading surface from the iterator as `tf.errors.OpError` with the
        message of ours.
    """
    batch_size = None if batch_size is None else whole_number("batch_size", batch_size, 1)
    epochs = None if epochs is None else whole_number("epochs", epochs, 1)
    epoch = None if epoch is None else whole_number("epoch", epoch, 0)
    choice = resolve_shard(shard)
    if seed is None and choice.count > 1 and shuffle:
        raise OptionError("seed=None draws a seed, and every shard would draw its own: give all shards one seed.")
    if start is not None and epoch is not None:
        raise OptionError("start= says which epoch comes first, so epoch= must be left out.")
    drawn = seed is None and start is None
    if seed is None:
        seed = secrets.randbits(63) if start is None else start.seed
    seed = whole_number("seed", seed)
    options = PoolOptions.of(pool)
    skip = Skip.of(on_error)
    lost: list[Damage] = []
    if isinstance(url, StoredDataset):
        stored = url
    else:
        stored = _open(url, skip, lost, filesystem=filesystem, codecs=codecs, unmapped=unmapped, sidecar=sidecar)
    options = options.on(is_local(stored.filesystem))
    ledger = SkipLedger(None if skip is None else skip.rows(stored.num_rows))
    ledger.add(lost)
    labels = [] if label is None else [label] if isinstance(label, str) else list(label)
    spec, windows = specify(
        stored,
        fields,
        labels,
        where=where,
        split=split,
        transform=transform,
        nulls=nulls,
        skip=skip,
        ngram=ngram,
        cache=cache,
    )
    nullable = [field.name for field in spec.output if field.nullable]
    if nullable:
        raise OptionError(
            f"The fields {nullable} come out nullable, and TensorFlow has no nulls: choose what they become with "
            "nulls=, and declare a transform's edit_fields without nullable."
        )
    structure = Structure.of(label if label is None or isinstance(label, str) else tuple(label), names_of(spec))
    division = division_of(choice, batch_size, even, drop_remainder)
    forming = Forming.of(windows, structure, spec, Shuffle.of(shuffle).rows)
    length = windows.length if windows is not None and windows.fields is None else None
    padding = Padding.of(ragged, spec.output, length)
    # The footers at hand are the stored dataset's: held weakly, since TensorFlow keeps the reader for good.
    footers = weakref.WeakMethod(stored.file_metadata)
    reader = TaskReader(spec, lambda file: method(file) if (method := footers()) is not None else None)
    shuffling = Shuffle.of(shuffle)
    planned = plan_tasks(stored, spec, reader, options, ledger, shuffling, windows)
    if not planned.samples.total:
        raise OptionError(
            f"{stored.url} has no rows for these options; where= and split= leave none of {stored.num_rows}."
            if windows is None
            else f"{stored.url} has no windows for these options: {planned.reason}"
        )
    if windows is not None:
        # Which rows there are is decided: all rows of a window pass.
        reader = reader.unselective()
    order = Position(stored.fingerprint, order_options(spec, windows, shuffling, planned), seed)
    plan = EpochPlan(
        planned.samples,
        shuffling,
        seed,
        planned.block,
        epochs,
        epoch or 0,
        epoch is not None,
        division,
        choice.index,
    )
    if not plan.steps(plan.first_epoch):
        raise OptionError(
            f"{planned.samples.total} rows leave no step for batch_size={batch_size} and {choice.count} shard(s): use "
            'even="pad" or "repeat", a smaller batch_size, or drop_remainder=False.'
        )
    # Blocks on their way through TensorFlow are not the pool's.
    pool_options = replace(options, budget_bytes=options.budget_bytes - planned.held)
    emitted = None if batch_size is None else emitted_batch(choice, division)

    def restarted(position: Position | None) -> Any:
        here, known = plan, order
        if position is not None:
            if drawn:
                # Nobody asked for this seed: that of the position is as good, and goes on.
                here, known = plan.with_seed(position.seed), replace(order, seed=position.seed)
            position.check(known)
            here = here.from_position(position.epoch, position.segments)
        source = ElementSource(here, reader, pool_options, planned.row_bytes, ledger, division.even == "pad")
        dataset = graph_of(source, forming, structure, padding, emitted, division.full)
        total = (
            None if epochs is None else here.steps(here.first_epoch) + (epochs - 1) * here.steps(here.first_epoch + 1)
        )
        if choice.count > 1:
            auto = tf.data.Options()
            auto.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
            dataset = dataset.with_options(auto)
        elif choice.replicas == 1 and not here.consumed:
            cardinality = tf.data.INFINITE_CARDINALITY if total is None else total
            dataset = dataset.apply(tf.data.experimental.assert_cardinality(cardinality))
        steps_made = None if total is None else total * choice.steps_of_element
        attach(dataset, _Handle(source, stored, choice, steps_made, known, restarted))
        weakref.finalize(dataset, source.pool.release).atexit = False
        return dataset

    return restarted(start)


def names_of(spec: ReadSpec) -> list[str]:
    """The names of the fields that come out."""
    return [field.name for field in spec.output]


def steps(dataset: Any) -> int | None:
    """How many batches the first pass over a dataset of `make_dataset` has, or under a strategy that divides them how
    many steps; None if it is endless. With several shards all have as many. Of a `mix`: its elements, None also where
    nobody knows.

    Raises OptionError for any other dataset.
    """
    return handle_of(dataset).steps


def stats(dataset: Any) -> SourceStats:
    """What a dataset of `make_dataset` has read so far: rows, decoded cells, row groups and bytes fetched, rows
    skipped, time spent waiting, and bytes held. Index passes are not counted. Of a `mix`: the sum.

    Raises OptionError for any other dataset.
    """
    return handle_of(dataset).stats


def close(dataset: Any) -> None:
    """Ends the workers of a dataset of `make_dataset` and waits for them; iterating again starts them again. Needed
    only where they must be gone at a certain moment: dropping the dataset ends them too."""
    handle_of(dataset).close()


def position(dataset: Any, steps: int = 0) -> Position:
    """The position after `steps` steps of the first pass over a dataset of `make_dataset`: `make_dataset(...,
    start=position)` goes on with the step after them. The same for all shards, and small: keep it with the weights.

    Raises OptionError for any other dataset, and for steps that end within a batch which TensorFlow divides.
    """
    handle = _handle(dataset)
    steps = whole_number("steps", steps, 0)
    elements, rest = divmod(steps, handle.choice.steps_of_element)
    if rest:
        raise OptionError(
            f"Under this strategy {handle.choice.steps_of_element} steps share the rows that are read at once, so a "
            f"position is at a multiple of them; {steps} is not."
        )
    if handle.steps is not None and steps > handle.steps:
        raise OptionError(f"The first pass has {handle.steps} steps, so there is no position after {steps}.")
    epoch, segments = handle.source.plan.position_after(elements)
    return replace(handle.order, epoch=epoch, segments=segments)


def _handle(dataset: Any) -> _Handle:
    handle = handle_of(dataset)
    if not isinstance(handle, _Handle):
        raise OptionError("A mix has no position; save its iterator in a tf.train.Checkpoint instead.")
    return handle


def _open(url: Any, skip: Skip | None, lost: list[Damage], **options: Any) -> StoredDataset:
    """Opens the dataset; with `skip`, files that can't be opened are left out and listed in `lost`."""
    if skip is None:
        return open_dataset(url, **options)
    bad: list[tuple[DataFile, DamagedDataError]] = []
    stored = open_dataset(url, on_bad_file=lambda file, error: bad.append((file, error)), **options)
    if bad:
        # What a file held, nobody can tell any more; the other files' rows a byte are the best guess.
        density = stored.num_rows / max(1, sum(file.size for file in stored.files))
        lost += [Damage(Place(file.path), str(error), max(1, round(file.size * density))) for file, error in bad]
    return stored

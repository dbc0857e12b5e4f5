"""`make_dataset`: a Parquet dataset as a `tf.data.Dataset`."""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfpetastorm.errors import DamagedDataError, OptionError, Place
from tfpetastorm.plan.epochs import EpochPlan
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.plan.order import Shuffle
from tfpetastorm.plan.split import Split
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.fetch import Source
from tfpetastorm.read.nulls import NullPolicy
from tfpetastorm.read.predicate import predicate_of
from tfpetastorm.read.result import Damage
from tfpetastorm.read.task import ReadSpec, TaskReader
from tfpetastorm.read.transform import Transform
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.tfdata.planning import plan_tasks
from tfpetastorm.tfdata.skip import Skip, SkipLedger
from tfpetastorm.tfdata.source import ElementSource, SourceStats, unconverted
from tfpetastorm.tfdata.structure import Padding, Structure

#: Read tasks handed to TensorFlow ahead of need. Prefetched here, below the end of the pass, and not as batches at the
#: end of the pipeline: TensorFlow forgets how many passes there were when it saves an iterator that has already met
#: the end of one.
_PREFETCH = 1

_ATTRIBUTE = "_tfpetastorm"


@dataclass(frozen=True, eq=False)
class _Handle:
    """What a dataset object of ours carries: its source, and how many batches a pass has (None: endless)."""

    source: ElementSource
    stored: StoredDataset
    steps: int | None


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
    where: Any = None,
    split: Split | tuple[str, float] | None = None,
    transform: Transform | Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
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
        batch_size: rows a batch. None gives one element a row, which is slow; batch here rather than later.
        drop_remainder: leave out the last batch of an epoch if it is short; gives a static batch dimension.
        epochs: epochs in one pass; None for endless. No batch spans two epochs.
        epoch: pins the number of the (first) epoch of every pass. Without it each pass, that is each `iter()`, goes on
            where the one before ended, so that a shuffled dataset never repeats an order.
        shuffle: permute row groups, each epoch anew.
        seed: decides every order; 0 is a seed. None draws one.
        where: the rows to read: tuples such as `[("speed", ">", 2.0)]` (a list of lists is an or of ands), a
            `pyarrow.compute` expression, a function whose parameters are names of fields, or a `ColumnPredicate`.
        split: ("train", 0.9), ("test", 0.1) or a `Split`: rows chosen by a stable hash.
        transform: a NumPy function on columns that runs in the pool, or a `Transform`, which declares changed fields.
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
        unit, dates are int32 days. Its cardinality is exact, in batches.

    Raises:
        OptionError: an argument can't work. DatasetError, SchemaError: the dataset can't be opened.
        MemoryBudgetError: one read task exceeds the budget. Errors met while reading surface from the iterator as
        `tf.errors.OpError` with the message of ours.
    """
    batch_size = None if batch_size is None else whole_number("batch_size", batch_size, 1)
    epochs = None if epochs is None else whole_number("epochs", epochs, 1)
    epoch = None if epoch is None else whole_number("epoch", epoch, 0)
    seed = secrets.randbits(63) if seed is None else whole_number("seed", seed)
    options = PoolOptions.of(pool)
    skip = Skip.of(on_error)
    lost: list[Damage] = []
    if isinstance(url, StoredDataset):
        stored = url
    else:
        stored = _open(url, skip, lost, filesystem=filesystem, codecs=codecs, unmapped=unmapped, sidecar=sidecar)
    ledger = SkipLedger(None if skip is None else skip.rows(stored.num_rows))
    ledger.add(lost)
    labels = [] if label is None else [label] if isinstance(label, str) else list(label)
    spec = _spec(stored, fields, labels, where, split, transform, nulls, skip)
    # The footers at hand are the stored dataset's: held weakly, since TensorFlow keeps the reader for good.
    footers = weakref.WeakMethod(stored.file_metadata)
    reader = TaskReader(spec, lambda file: method(file) if (method := footers()) is not None else None)
    planned = plan_tasks(stored, spec, reader, options, ledger)
    if not len(planned.tasks):
        raise OptionError(
            f"{stored.url} has no rows for these options; where= and split= leave none of {stored.num_rows}."
        )
    plan = EpochPlan(
        planned.tasks,
        planned.rows,
        Shuffle.of(shuffle),
        seed,
        epochs,
        epoch or 0,
        epoch is not None,
    )
    source = ElementSource(plan, reader, options, planned.task_bytes, ledger)
    structure = Structure.of(label if label is None or isinstance(label, str) else tuple(label), names_of(spec))
    padding = Padding.of(ragged, spec.output)
    steps = plan.batches_per_epoch(batch_size, drop_remainder)
    dataset = _graph(source, structure, padding, batch_size, drop_remainder)
    total = None if epochs is None else steps * epochs
    cardinality = tf.data.INFINITE_CARDINALITY if total is None else total
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(cardinality))
    setattr(dataset, _ATTRIBUTE, _Handle(source, stored, total))
    weakref.finalize(dataset, source.pool.release).atexit = False
    return dataset


def names_of(spec: ReadSpec) -> list[str]:
    """The names of the fields that come out."""
    return [field.name for field in spec.output]


def steps(dataset: Any) -> int | None:
    """How many batches one pass over a dataset of `make_dataset` has; None if it is endless.

    Raises OptionError for any other dataset.
    """
    return _handle(dataset).steps


def stats(dataset: Any) -> SourceStats:
    """What a dataset of `make_dataset` has read so far: rows, decoded cells, row groups and bytes fetched, rows
    skipped, time spent waiting, and bytes held. Index passes are not counted.

    Raises OptionError for any other dataset.
    """
    return _handle(dataset).source.stats


def close(dataset: Any) -> None:
    """Ends the workers of a dataset of `make_dataset` and waits for them; iterating again starts them again. Needed
    only where they must be gone at a certain moment: dropping the dataset ends them too."""
    _handle(dataset).source.pool.close()


def _handle(dataset: Any) -> _Handle:
    handle = getattr(dataset, _ATTRIBUTE, None)
    if not isinstance(handle, _Handle):
        raise OptionError("This is not a dataset that make_dataset returned; ask before map, take and the like.")
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


def _spec(
    stored: StoredDataset,
    fields: Iterable[Any] | None,
    labels: Sequence[str],
    where: Any,
    split: Any,
    transform: Any,
    nulls: Any,
    skip: Skip | None,
) -> ReadSpec:
    schema = stored.schema
    change = Transform.of(transform)
    added = {field.name for field in change.edit_fields} if change is not None else set()
    chosen = (
        list(schema.fields) if fields is None else [*schema.select([*fields, *(n for n in labels if n not in added)])]
    )
    read = [schema.fields[name] for name in chosen]
    policy = NullPolicy(nulls, read)
    output = policy.fields_after(read)
    if change is not None:
        output = change.fields_after(output)
    if not output:
        raise OptionError("No field comes out: name at least one in fields=, and let transform= leave one.")
    predicate = predicate_of(where, list(schema.fields), stored.filter_schema)
    part = None if split is None else Split.of(split)
    by = "row" if part is None else part.by
    if by not in ("row", "row_group") and (by not in schema.fields or schema.fields[by].shape):
        raise OptionError(f'split by={by!r} is neither "row", "row_group" nor a scalar field.')
    source = Source(stored.filesystem, stored.inventory, stored.column_paths, stored.partition_fields)
    return ReadSpec(
        source,
        schema,
        tuple(chosen),
        policy,
        tuple(output),
        stored.filter_schema,
        predicate,
        part,
        change,
        skip is not None,
    )


def _graph(
    source: ElementSource, structure: Structure, padding: Padding, batch_size: int | None, drop_remainder: bool
) -> Any:
    """The dataset of the user's elements, without cardinality."""

    def one_epoch(epoch: Any) -> Any:
        tasks = source.tasks_of(epoch).prefetch(_PREFETCH)
        if batch_size is None:
            rows = tasks.unbatch()
            if any(field.ragged_rank for field in source.fields):
                rows = rows.map(unconverted(padding.rows))
            return rows.map(unconverted(structure.arrange))
        if padding.sizes:
            batches = tasks.rebatch(batch_size, drop_remainder).map(unconverted(padding.apply))
            return batches.map(unconverted(structure.arrange))
        # Arranged before it is cut: one step fewer for every batch.
        return tasks.map(unconverted(structure.arrange)).rebatch(batch_size, drop_remainder)

    return source.epochs().flat_map(unconverted(one_epoch))

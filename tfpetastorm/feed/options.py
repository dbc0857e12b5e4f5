"""What the options mean together: what is read, and what decides the order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tfpetastorm.errors import OptionError
from tfpetastorm.feed.planning import Planned
from tfpetastorm.feed.skip import Skip
from tfpetastorm.plan.ngram import NGram, ResolvedWindows, Window
from tfpetastorm.plan.order import Shuffle
from tfpetastorm.plan.split import Split
from tfpetastorm.read.cache import DiskCache
from tfpetastorm.read.fetch import Source
from tfpetastorm.read.nulls import NullPolicy
from tfpetastorm.read.predicate import predicate_of
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.transform import Transform
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.stores.filesystem import is_local

#: Footers sent to each worker process; of larger datasets it asks the store for those it needs.
_FOOTER_BYTES = 16 << 20


def specify(
    stored: StoredDataset,
    fields: Iterable[Any] | None,
    labels: Sequence[str],
    *,
    where: Any,
    split: Any,
    transform: Any,
    nulls: Any,
    skip: Skip | None,
    ngram: NGram | Window | None,
    cache: Any = None,
) -> tuple[ReadSpec, ResolvedWindows | None]:
    """What is read of a dataset, and which windows of it. Raises OptionError for what can't work."""
    schema = stored.schema
    change = Transform.of(transform)
    added = {field.name: field for field in change.edit_fields} if change is not None else {}
    windows = None
    if ngram is not None:
        if not isinstance(ngram, (NGram, Window)):
            raise OptionError(f"ngram takes an NGram or a Window, not {ngram!r}.")
        windows = ngram.resolve(Unischema.rebuilt(schema.schema_name, [*{**schema.fields, **added}.values()]), schema)
    wanted: list[Any] = [*(fields or ()), *(name for name in labels if name not in added)]
    if windows is not None and windows.names is not None:
        wanted += [name for name in windows.names if name in schema.fields]
    elif fields is None:
        wanted = list(schema.fields)
    chosen = list(schema.select(wanted))
    read = [schema.fields[name] for name in chosen]
    policy = NullPolicy(nulls, read)
    output = policy.fields_after(read)
    if change is not None:
        output = change.fields_after(output)
    if not output:
        raise OptionError("No field comes out: name at least one in fields=, and let transform= leave one.")
    predicate = predicate_of(where, list(schema.fields), stored.filter_schema, stored)
    part = None if split is None else Split.of(split)
    by = "row" if part is None else part.by
    if by not in ("row", "row_group") and (by not in schema.fields or schema.fields[by].shape):
        raise OptionError(f'split by={by!r} is neither "row", "row_group" nor a scalar field.')
    footers = None
    if not is_local(stored.filesystem) and sum(len(footer.raw) for footer in stored.footers) <= _FOOTER_BYTES:
        footers = tuple(footer.raw for footer in stored.footers)
    source = Source(stored.filesystem, stored.inventory, stored.column_paths, stored.partition_fields, footers)
    spec = ReadSpec(
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
        cache=DiskCache.of(cache),
    )
    return spec, windows


def order_options(
    spec: ReadSpec, windows: ResolvedWindows | None, shuffle: Shuffle, planned: Planned
) -> dict[str, Any]:
    """What decides the order of an epoch and what its samples are, by option, as JSON."""
    counts = hashlib.sha256(np.ascontiguousarray(planned.samples.count, "<i8").tobytes())
    if windows is not None:
        assert planned.samples.windows is not None
        counts.update(planned.samples.windows.to_array().astype("<i8").tobytes())
    where = spec.where
    split = spec.split
    return {
        "fields": list(spec.fields),
        "where": None if where is None else where.key or _named(where),
        "split": None if split is None else [split.part, dict(split.parts), split.by, split.salt],
        "transform": None if spec.transform is None else _named(spec.transform.function),
        "shuffle": {**asdict(shuffle), "block": planned.block},
        "ngram": None if windows is None else windows.key,
        "counts": counts.hexdigest(),
    }


def _named(function: Any) -> str:
    """A function by name: what is in it, nobody can compare from one run to the next."""
    inner = getattr(function, "function", getattr(function, "predicate", function))
    return str(getattr(inner, "__qualname__", type(inner).__name__))

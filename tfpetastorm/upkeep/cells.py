"""Decoding rows from all over a dataset, to see whether that can be done."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfpetastorm.errors import DatasetWarning
from tfpetastorm.plan.tasks import ReadTask
from tfpetastorm.read.fetch import Source
from tfpetastorm.read.nulls import NullPolicy, Nulls
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.codecs import OpaqueCodec
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.codecs.opaque import raw_field
from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.stores.filesystem import Url

#: From so many row groups rows are taken, if there are as many.
_ROW_GROUPS = 25


@dataclass(frozen=True)
class Cells:
    """What was seen: problems, each with its place, and how much was looked at, in words."""

    problems: tuple[str, ...]
    seen: str


def sample_cells(
    url: Url,
    rows: int,
    *,
    codecs: Sequence[type[Codec]] = (),
    filesystem: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> Cells:
    """Decode `rows` rows, or all if there are fewer. Files that can't be read are left out.

    Raises what `open_dataset` raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)  # of files that are not listed
        stored = open_dataset(
            url, filesystem=filesystem, codecs=codecs, unmapped="omit", sidecar="never", on_bad_file=_ignore
        )
    # Nullable, whatever they say: a null where there should be none is to be told, not raised.
    fields = [
        replace(raw_field(field) if isinstance(field.codec, OpaqueCodec) else field, nullable=True)
        for field in stored.schema
    ]
    schema = Unischema.rebuilt("sample", fields)
    source = Source(stored.filesystem, stored.inventory, stored.column_paths, stored.partition_fields)
    nulls = NullPolicy(Nulls.KEEP, fields)
    spec = ReadSpec(source, schema, tuple(schema.fields), nulls, tuple(fields), stored.filter_schema, skip=True)
    reader = TaskReader(spec, stored.file_metadata)
    problems: list[str] = []
    looked = 0
    try:
        for task in _sample(stored.inventory.row_group_rows, rows, progress):
            result = reader.run(task)
            looked += task.stop - task.start
            for damage in result.damage:
                told = damage.place.row is None or str(damage.place) in damage.reason
                problems.append(damage.reason if told else f"{damage.reason} ({damage.place})")
            for field in stored.schema:
                valid = result.columns[field.name].valid
                if not field.nullable and valid is not None and not valid.all():
                    place = source.place(task.row_group, None, field.name)
                    problems.append(f"a field that is not nullable holds a null ({place})")
    finally:
        reader.close()
    unknown = [field.name for field in stored.schema if isinstance(field.codec, OpaqueCodec)]
    but = f", but for {', '.join(unknown)}, whose codec is not known" if unknown else ""
    return Cells(tuple(problems), f"{looked:,} of {stored.num_rows:,} rows{but}")


def _sample(row_groups: Array, rows: int, progress: Callable[[int, int], None] | None) -> Iterator[ReadTask]:
    """Rows at the start of row groups all over the dataset, the first and the last among them."""
    filled = np.flatnonzero(row_groups)
    least = -(-rows // int(row_groups.max(initial=1)))
    count = min(len(filled), rows, max(_ROW_GROUPS, least))
    chosen = filled[np.unique(np.linspace(0, len(filled) - 1, count).astype(int))] if count else filled
    left = rows
    for done, group in enumerate(chosen.tolist()):
        take = min(int(row_groups[group]), -(-left // (len(chosen) - done)))
        if take:
            yield ReadTask(group, 0, take)
        left -= take
        if progress is not None:
            progress(done + 1, len(chosen))


def _ignore(file: object, error: Exception) -> None:
    """A file that can't be read is told of elsewhere."""

"""The first rows of a dataset, decoded, without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpetastorm.plan.tasks import ReadTask
from tfpetastorm.read.face import to_face
from tfpetastorm.read.fetch import Source
from tfpetastorm.read.nulls import NullPolicy
from tfpetastorm.read.predicate import ExpressionPredicate, Predicate, predicate_of
from tfpetastorm.read.result import TaskResult
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.codecs import OpaqueCodec
from tfpetastorm.schema.codecs.opaque import raw_field
from tfpetastorm.schema.columns import Array, Column
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.statistics import prune

#: With a condition, this many rows at once are looked through and decoded.
_STRETCH = 1024


@dataclass(frozen=True)
class Row:
    """One row. file: its file's name. row_group: ordinal in the file. values: by field; None for null."""

    file: str
    row_group: int
    values: dict[str, Any]


class _KeepNulls(NullPolicy):
    """Leaves nulls as they are, for showing them: no other field is needed to tell them."""

    def __init__(self, fields: Sequence[UnischemaField]) -> None:
        super().__init__("error", fields)

    def apply(self, columns: dict[str, Column], rows: Array, file: str, row_group: int) -> dict[str, Column]:
        return columns


def first_rows(
    stored: StoredDataset,
    fields: Sequence[str] | None,
    where: Any,
    count: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """The first `count` rows for which `where` holds, in stored order.

    fields: names or regular expressions that match a whole name; None for all. where: as `make_dataset` takes it.
    progress: called with the number of row groups looked through and of all. Fields whose codec is not known come as
    the bytes that are stored.

    Raises what reading raises: DamagedDataError, SchemaError and so on.
    """
    schema = Unischema.rebuilt(
        stored.schema.schema_name, [raw_field(f) if isinstance(f.codec, OpaqueCodec) else f for f in stored.schema]
    )
    chosen = tuple(schema.fields) if fields is None else schema.select(fields)
    read = [schema.fields[name] for name in chosen]
    predicate = predicate_of(where, list(schema.fields), stored.filter_schema)
    source = Source(stored.filesystem, stored.inventory, stored.column_paths, stored.partition_fields)
    spec = ReadSpec(source, schema, chosen, _KeepNulls(read), tuple(read), stored.filter_schema, predicate)
    reader = TaskReader(spec, stored.file_metadata)
    rows: list[Row] = []
    try:
        for task in _tasks(stored, predicate, count, progress):
            rows += _rows(stored, task, reader.run(task), read)
            if len(rows) >= count:
                break
    finally:
        reader.close()
    return rows[:count]


def _tasks(
    stored: StoredDataset, predicate: Predicate | None, count: int, progress: Callable[[int, int], None] | None
) -> Iterator[ReadTask]:
    """Stretches of row groups, in order, small enough that little is decoded in vain."""
    groups = np.arange(len(stored.row_groups))
    if isinstance(predicate, ExpressionPredicate):
        groups = groups[prune(stored, predicate.expression)]
    stretch = count if predicate is None else _STRETCH
    for done, group in enumerate(groups.tolist()):
        size = int(stored.inventory.row_group_rows[group])
        for start in range(0, size, max(1, stretch)):
            yield ReadTask(group, start, min(start + stretch, size))
        if progress is not None:
            progress(done + 1, len(groups))


def _rows(stored: StoredDataset, task: ReadTask, result: TaskResult, fields: list[UnischemaField]) -> list[Row]:
    group = stored.row_groups[task.row_group]
    faces = {field.name: to_face(result.columns[field.name], field) for field in fields}
    valid = {field.name: result.columns[field.name].valid for field in fields}
    return [
        Row(
            group.file,
            group.ordinal,
            {
                name: None if (mask := valid[name]) is not None and not mask[i] else face[i]
                for name, face in faces.items()
            },
        )
        for i in range(result.rows)
    ]

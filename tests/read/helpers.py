"""Reads a dataset without TensorFlow, as readers do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfpetastorm.plan.tasks import ReadTask
from tfpetastorm.read.fetch import Source
from tfpetastorm.read.nulls import NullPolicy, Nulls
from tfpetastorm.read.predicate import predicate_of
from tfpetastorm.read.result import TaskResult
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.read.transform import Transform
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.storage.opening import open_dataset


def spec_of(
    url: Any, *, fields: Any = None, nulls: Any = Nulls.KEEP, where: Any = None, transform: Any = None, **more: Any
) -> ReadSpec:
    """What to read of a dataset; `more` are further parts of a ReadSpec."""
    stored = open_dataset(url)
    chosen = tuple(stored.schema.fields) if fields is None else stored.schema.select(fields)
    read = [stored.schema.fields[name] for name in chosen]
    policy = NullPolicy(nulls, read)
    change = Transform.of(transform)
    output = policy.fields_after(read)
    output = output if change is None else change.fields_after(output)
    source = Source(stored.filesystem, stored.inventory, stored.column_paths, stored.partition_fields)
    predicate = predicate_of(where, list(stored.schema.fields), stored.filter_schema)
    return ReadSpec(
        source,
        stored.schema,
        tuple(chosen),
        policy,
        tuple(output),
        stored.filter_schema,
        predicate,
        None,
        change,
        **more,
    )


def tasks_of(spec: ReadSpec) -> list[ReadTask]:
    """One read task a row group."""
    return [ReadTask(group, 0, int(rows)) for group, rows in enumerate(spec.source.inventory.row_group_rows)]


def results_of(spec: ReadSpec) -> Iterator[TaskResult]:
    """The result of every row group, in order."""
    reader = TaskReader(spec)
    try:
        for task in tasks_of(spec):
            yield reader.run(task)
    finally:
        reader.close()


def rows_of(spec: ReadSpec) -> list[dict[str, Any]]:
    """Every row as a dict of cells."""
    rows: list[dict[str, Any]] = []
    for result in results_of(spec):
        cells = {field.name: cells_of(field, result.columns[field.name]) for field in spec.output}
        rows += [{name: cells[name][i] for name in cells} for i in range(result.rows)]
    return rows


def same(one: Any, other: Any) -> bool:
    """Whether two cells are of one type, dtype and shape and have the same bits."""
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if type(one) is not type(other):
        return False
    if isinstance(one, (np.ndarray, np.generic)):
        if one.dtype != other.dtype or np.shape(one) != np.shape(other):
            return False
        return one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes()
    return bool(one == other) and str(one) == str(other)

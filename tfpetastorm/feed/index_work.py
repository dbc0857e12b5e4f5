"""What indexing is made of, wherever it is done: reading a task, and adding what was found to the indexers."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tfpetastorm.plan.tasks import ReadTask, TaskTable
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.columns import Column
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.storage.indexers import FieldNotNullIndexer, RowGroupIndexerBase, SingleFieldIndexer, distinct_items

#: Built from columns; a subclass may build otherwise.
_COLUMNAR = (SingleFieldIndexer, FieldNotNullIndexer)


@dataclass(frozen=True, eq=False)
class Found:
    """What a read task has for the indexers: the distinct values of fields, whether fields have any value that is not
    null, and all rows, where an indexer of the user's own wants them."""

    row_group: int
    distinct: dict[str, list[Any]]
    present: dict[str, bool]
    rows: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class IndexWork:
    """spec, names: the fields that are read. indexers: what is to be built. tasks: in stored order."""

    spec: ReadSpec
    names: list[str]
    indexers: list[RowGroupIndexerBase]
    tasks: TaskTable

    @property
    def fields(self) -> list[UnischemaField]:
        """The fields that are read."""
        return [self.spec.schema.fields[name] for name in self.names]

    def empty(self) -> list[RowGroupIndexerBase]:
        """Indexers of the same kinds; built-in ones without what they may hold of another dataset."""
        return [_fresh(indexer) for indexer in self.indexers]

    def find(self, reader: TaskReader, task: ReadTask) -> Found:
        """Reads a task. Raises DamagedDataError naming the file and row group, and what else reading raises."""
        _, columns, _ = reader.probe(task, self.names)
        values = {indexer.column_names[0] for indexer in self.indexers if type(indexer) is SingleFieldIndexer}
        fields = self.fields
        distinct = {field.name: distinct_items(field, columns[field.name]) for field in fields if field.name in values}
        present = {name: column.valid is None or bool(column.valid.any()) for name, column in columns.items()}
        return Found(task.row_group, distinct, present, _rows(fields, columns) if has_own(self.indexers) else [])

    @staticmethod
    def add(built: list[RowGroupIndexerBase], found: Found) -> None:
        """Adds what a task has. Tasks are added in stored order: it is that of an index' values."""
        for indexer in built:
            if type(indexer) is SingleFieldIndexer:
                indexer.add(found.distinct[indexer.column_names[0]], found.row_group)
            elif type(indexer) is FieldNotNullIndexer:
                indexer.add(found.present[indexer.column_names[0]], found.row_group)
            else:
                indexer.build_index(found.rows, found.row_group)


def has_own(indexers: Iterable[RowGroupIndexerBase]) -> bool:
    """Whether there is one of the user's own, which sees the rows of a row group at once."""
    return any(type(indexer) not in _COLUMNAR for indexer in indexers)


def _fresh(indexer: RowGroupIndexerBase) -> RowGroupIndexerBase:
    for kind in _COLUMNAR:
        if type(indexer) is kind:
            return kind(indexer.index_name, indexer.column_names[0])
    return copy.deepcopy(indexer)


def _rows(fields: list[UnischemaField], columns: dict[str, Column]) -> list[dict[str, Any]]:
    cells = [cells_of(field, columns[field.name]) for field in fields]
    names = [field.name for field in fields]
    return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]

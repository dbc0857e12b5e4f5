"""`build_rowgroup_index`: reads the fields to index, in threads, and stores in which row groups their values are."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfpetastorm.errors import OptionError, describe
from tfpetastorm.feed.index_pass import in_order
from tfpetastorm.feed.options import specify
from tfpetastorm.plan.tasks import ReadTask, slice_row_groups
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.cost import row_bytes
from tfpetastorm.read.nulls import Nulls
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.columns import Column
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.indexers import FieldNotNullIndexer, RowGroupIndexerBase, SingleFieldIndexer, distinct_items
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.storage.row_group_index import find_indexes, store_indexes
from tfpetastorm.storage.where import unknown_field


def build_rowgroup_index(
    dataset_url: Any,
    spark_context: Any = None,
    indexers: Sequence[RowGroupIndexerBase] = (),
    hdfs_driver: str | None = None,
    *,
    filesystem: Any = None,
    codecs: Iterable[type[Codec]] = (),
    workers: int | None = None,
) -> None:
    """Index a dataset for selectors, in place of the indexes it had. Shows a progress bar where someone is looking.

    dataset_url: of a folder; anything `open_dataset` takes that is one. spark_context: not needed, and not used.
    indexers: what to index, such as `SingleFieldIndexer("by label", "label")`. They are only read.
    hdfs_driver: of no effect. filesystem, codecs: as in `open_dataset`. workers: how many threads read.

    Raises OptionError for an unknown field or two indexers of one name, what reading raises for damaged data, and
    DatasetError where the folder can't be written.
    """
    if hdfs_driver is not None:
        warnings.warn("hdfs_driver has no effect: pyarrow finds libhdfs by itself.", DeprecationWarning, stacklevel=2)
    _check(indexers)
    stored = open_dataset(dataset_url, filesystem=filesystem, codecs=codecs)
    if stored.sidecar == "never":
        raise OptionError("A row-group index belongs to one folder; several files or folders have no place for it.")
    names = list(dict.fromkeys(name for indexer in indexers for name in indexer.column_names))
    for name in names:
        if name not in stored.schema.fields:
            raise unknown_field(name, list(stored.schema.fields))
    store_indexes(
        stored, _built(stored, indexers, names, PoolOptions() if workers is None else PoolOptions(workers=workers))
    )


def get_row_group_indexes(dataset: Any) -> dict[str, RowGroupIndexerBase]:
    """The indexes of a dataset by name.

    dataset: from `open_dataset`, or its URL. Raises OptionError if it has none, DatasetChangedError if its files are
    not those that were indexed, DatasetError if the indexes are damaged.
    """
    stored = dataset if isinstance(dataset, StoredDataset) else open_dataset(dataset)
    indexes = find_indexes(stored)
    if not indexes:
        raise OptionError(f"{stored.url} has no row-group index. Make one with build_rowgroup_index.")
    return indexes


def _check(indexers: Sequence[RowGroupIndexerBase]) -> None:
    if not len(indexers):
        raise OptionError("build_rowgroup_index needs at least one indexer: indexers=[SingleFieldIndexer(...)].")
    given: list[Any] = list(indexers)
    for indexer in given:
        if not isinstance(indexer, RowGroupIndexerBase):
            raise OptionError(describe("Not an indexer", expected="a RowGroupIndexerBase", found=repr(indexer)))
    names = [indexer.index_name for indexer in indexers]
    if len(set(names)) != len(names):
        raise OptionError(f"Two indexers have the same name: {names}.")


def _built(
    stored: StoredDataset, indexers: Sequence[RowGroupIndexerBase], names: list[str], options: PoolOptions
) -> list[RowGroupIndexerBase]:
    """Indexers like `indexers` that hold what is in the dataset."""
    spec, _ = specify(
        stored,
        names,
        (),
        where=None,
        split=None,
        transform=None,
        nulls=Nulls.KEEP,
        skip=None,
        ngram=None,
    )
    fields = [stored.schema.fields[name] for name in names]
    built = [_fresh(indexer) for indexer in indexers]
    own = any(type(indexer) not in _COLUMNAR for indexer in built)

    values = {indexer.column_names[0] for indexer in built if type(indexer) is SingleFieldIndexer}

    def found(task: ReadTask) -> tuple[int, dict[str, list[Any]], dict[str, bool], list[dict[str, Any]]]:
        _, columns, _ = reader.probe(task, names)
        distinct = {name: distinct_items(stored.schema.fields[name], columns[name]) for name in values}
        present = {name: column.valid is None or bool(column.valid.any()) for name, column in columns.items()}
        return task.row_group, distinct, present, _rows(fields, columns) if own else []

    inventory = stored.inventory
    costs = row_bytes(fields, inventory, stored.column_paths, stored.file_metadata)
    # An indexer of the user's own sees a row group at once.
    whole = np.zeros_like(costs) if own else costs
    tasks = slice_row_groups(inventory.row_group_rows, np.ones(len(costs), bool), whole)
    reader = TaskReader(spec, stored.file_metadata)
    try:
        for row_group, distinct, present, rows in in_order(found, tasks, options, "Indexing row groups"):
            for indexer in built:
                if type(indexer) is SingleFieldIndexer:
                    indexer.add(distinct[indexer.column_names[0]], row_group)
                elif type(indexer) is FieldNotNullIndexer:
                    indexer.add(present[indexer.column_names[0]], row_group)
                else:
                    indexer.build_index(rows, row_group)
    finally:
        reader.close()
    return built


#: Built from columns; a subclass may build otherwise.
_COLUMNAR = (SingleFieldIndexer, FieldNotNullIndexer)


def _fresh(indexer: RowGroupIndexerBase) -> RowGroupIndexerBase:
    """An indexer of the same kind; a built-in one without what it may hold of another dataset."""
    for kind in _COLUMNAR:
        if type(indexer) is kind:
            return kind(indexer.index_name, indexer.column_names[0])
    return copy.deepcopy(indexer)


def _rows(fields: list[UnischemaField], columns: dict[str, Column]) -> list[dict[str, Any]]:
    cells = [cells_of(field, columns[field.name]) for field in fields]
    names = [field.name for field in fields]
    return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]

"""`build_rowgroup_index`: in which row groups the values of fields are, found in threads or on Spark, and stored."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfpetastorm.errors import OptionError, describe
from tfpetastorm.feed.index_on_spark import build_on_spark
from tfpetastorm.feed.index_pass import in_order
from tfpetastorm.feed.index_work import IndexWork, has_own
from tfpetastorm.feed.options import specify
from tfpetastorm.plan.tasks import slice_row_groups
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.cost import row_bytes
from tfpetastorm.read.nulls import Nulls
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.indexers import RowGroupIndexerBase
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.storage.row_group_index import find_indexes, store_indexes
from tfpetastorm.storage.where import unknown_field
from tfpetastorm.stores.filesystem import is_local


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

    dataset_url: of a folder; anything `open_dataset` takes that is one. spark_context: a SparkContext or SparkSession
    whose workers read the row groups and merge what they found, by the indexers' `+`; None reads here, in threads. The
    index is the same, to the byte. indexers: what to index, such as `SingleFieldIndexer("by label", "label")`. They are
    only read. hdfs_driver: of no effect. filesystem, codecs: as in `open_dataset`. workers: how many threads read.

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
    options = PoolOptions(workers=workers).on(is_local(stored.filesystem))
    store_indexes(stored, _built(stored, indexers, names, options, spark_context))


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
    stored: StoredDataset,
    indexers: Sequence[RowGroupIndexerBase],
    names: list[str],
    options: PoolOptions,
    spark: Any,
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
    inventory = stored.inventory
    costs = row_bytes(fields, inventory, stored.column_paths, stored.file_metadata)
    # An indexer of the user's own sees a row group at once.
    whole = np.zeros_like(costs) if has_own(indexers) else costs
    tasks = slice_row_groups(inventory.row_group_rows, np.ones(len(costs), bool), whole)
    work = IndexWork(spec, names, list(indexers), tasks)
    if spark is not None:
        return build_on_spark(spark, work, costs)
    built = work.empty()
    reader = TaskReader(spec, stored.file_metadata)
    try:
        for found in in_order(lambda task: work.find(reader, task), tasks, options, "Indexing row groups"):
            work.add(built, found)
    finally:
        reader.close()
    return built

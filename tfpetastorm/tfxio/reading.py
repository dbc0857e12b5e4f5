"""What a UnischemaTFXIO reads and how it is shown; decided once, sent to Beam's workers as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from tfpetastorm.feed.options import specify
from tfpetastorm.feed.planning import Planned, plan_tasks
from tfpetastorm.feed.skip import SkipLedger
from tfpetastorm.plan.order import Shuffle
from tfpetastorm.plan.tasks import ReadTask
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.nulls import Nulls
from tfpetastorm.read.ops import rows_between
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.columns import Column
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.stores.filesystem import is_local
from tfpetastorm.tfxio.arrow import record_batch
from tfpetastorm.tfxio.features import Feature, arrow_schema


@dataclass(frozen=True)
class Reading:
    """How rows are read and shown. features: the columns of record batches. spec: of the fields they are made of, with
    nulls as they are."""

    features: tuple[Feature, ...]
    spec: ReadSpec

    @property
    def schema(self) -> pa.Schema:
        """The schema of record batches."""
        return arrow_schema(self.features)

    def batch(self, columns: dict[str, Column], start: int, stop: int, task: ReadTask | None = None) -> pa.RecordBatch:
        """Some rows of columns that were read. task: what they are the rows of, where that is known, for messages."""
        place = None
        if task is not None:
            place = self.spec.source.place(task.row_group, task.start + start)
        part = {name: rows_between(column, start, stop) for name, column in columns.items()}
        return record_batch(self.features, part, stop - start, self.schema, place)


def reading_of(stored: StoredDataset, features: Sequence[Feature]) -> Reading:
    """How the fields of features are read."""
    fields = fields_read(stored, features)
    nulls = {name: Nulls.KEEP for name in fields if stored.schema.fields[name].nullable}
    spec, _ = specify(stored, fields, (), where=None, split=None, transform=None, nulls=nulls, skip=None, ngram=None)
    return Reading(tuple(features), spec)


def fields_read(stored: StoredDataset, features: Iterable[Feature]) -> list[str]:
    """The names of the fields that features are made of. Rows have to be counted even if there are none: then one."""
    fields = [feature.field.name for feature in features if feature.field is not None]
    return fields or [next(iter(stored.schema.fields))]


def planned(stored: StoredDataset, reading: Reading, shuffle: Shuffle) -> tuple[Planned, PoolOptions]:
    """The read tasks of an epoch and in which order, and how the pool runs them."""
    options = PoolOptions().on(is_local(stored.filesystem))
    reader = TaskReader(reading.spec, stored.file_metadata)
    try:
        return plan_tasks(stored, reading.spec, reader, options, SkipLedger(None), shuffle), options
    finally:
        reader.close()

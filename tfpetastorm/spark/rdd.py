"""A dataset as an RDD of decoded rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpetastorm.errors import OptionError, Place
from tfpetastorm.read.ops import take
from tfpetastorm.read.result import arrays_of
from tfpetastorm.schema.columns import Columns, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.spark.reading import Reading
from tfpetastorm.storage.opening import open_dataset

#: Rows made at once: about so many bytes of them, and no more than this: as objects of Python they take far more.
_CHUNK_BYTES = 1 << 20
_CHUNK_ROWS = 4096


def dataset_as_rdd(
    dataset_url: str, spark_session: Any, schema_fields: Iterable[Any] | None = None, hdfs_driver: str | None = None
) -> Any:
    """The rows of a dataset, decoded, as an RDD of namedtuples of its schema, in stored order: the very values that
    `make_reader` gives. Row groups are read on Spark's workers by us and not by Spark, and only listed files.

    dataset_url: a URL that Spark's workers see too. spark_session: not of Spark Connect, which has no RDDs.
    schema_fields: names, regular expressions or fields; all unless told. hdfs_driver: dropped, with a
    DeprecationWarning.

    Raises what `open_dataset` raises, SchemaError for an unknown field, OptionError for what can't work. Damaged data
    reaches the driver as an error of Spark that has our message, naming file, row group, row and field.
    """
    if hdfs_driver is not None:
        reason = "hdfs_driver has no effect: pyarrow finds libhdfs by itself."
        warnings.warn(reason, DeprecationWarning, stacklevel=2)
    context = _context(spark_session)
    stored = open_dataset(str(dataset_url))
    schema = stored.schema if schema_fields is None else stored.schema.create_schema_view(schema_fields)
    reading = Reading.of(stored, list(schema))
    # Sent by numbers: what a task reads goes to the workers once, with the function.
    numbers = context.parallelize(range(len(reading.tasks)), reading.partitions(spark_session))
    return numbers.mapPartitions(_ReadRows(reading, schema))


def _context(spark: Any) -> Any:
    """The session's SparkContext. Raises OptionError if it is one of Spark Connect, which has none."""
    try:
        return spark.sparkContext
    except Exception as error:
        # An AttributeError or a NotImplementedError of its own, by version.
        if type(error).__module__.partition(".")[0] != "pyspark":
            raise
        raise OptionError(
            "dataset_as_rdd takes a session that has a SparkContext, and Spark Connect has no RDDs: "
            "dataset_as_dataframe gives the same rows there, as a DataFrame."
        ) from error


@dataclass(frozen=True, eq=False)
class _ReadRows:
    """Sent to Spark's workers: numbers of read tasks in, their rows out."""

    reading: Reading
    schema: Unischema

    def __call__(self, numbers: Iterable[int]) -> Iterator[Any]:
        for columns in self.reading.parts(numbers, _measured):
            yield from self._rows(columns)

    def _rows(self, columns: Columns) -> Iterator[Any]:
        kind = self.schema.namedtuple_type()
        _, rows, size = _measured(columns)
        step = min(_CHUNK_ROWS, max(1, rows * _CHUNK_BYTES // max(1, size)))
        # A dictionary's entries become objects once, not once a chunk.
        whole = {field.name: cells_of(field, columns[field.name]) for field in self.schema if _coded(columns, field)}
        for start in range(0, rows, step):
            stop = min(rows, start + step)
            # Taken out, for cells to be writable and a row that is kept not to keep all others.
            index = np.arange(start, stop)
            cells = [
                whole[field.name][start:stop]
                if field.name in whole
                else cells_of(field, take(columns[field.name], index))
                for field in self.schema
            ]
            yield from map(kind._make, zip(*cells, strict=True))


def _coded(columns: Columns, field: UnischemaField) -> bool:
    values = columns[field.name].values
    return not field.shape and isinstance(values, Text) and values.codes is not None


def _measured(columns: Columns, place: Place | None = None) -> tuple[Columns, int, int]:
    rows = next(iter(columns.values())).rows
    return columns, rows, sum(array.nbytes for column in columns.values() for array in arrays_of(column))

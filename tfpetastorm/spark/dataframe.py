"""A dataset as a decoded DataFrame: its row groups read on Spark's workers, or columns that Spark read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import Place, SchemaError, describe
from tfpetastorm.feed.options import specify
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.plan.tasks import ReadTask, TaskTable, slice_row_groups
from tfpetastorm.read.cost import row_bytes
from tfpetastorm.read.nulls import Nulls
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.codecs import decode_column
from tfpetastorm.schema.codecs.base import Codec, bad_cell_error
from tfpetastorm.schema.columns import Array, Column
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.spark_types import spark_types
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.spark.decoded_arrow import decoded_type, spark_type_of, to_arrow
from tfpetastorm.spark.stored_frame import quoted
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.storage.statistics import prune

#: Arrow batches that go from Python to Spark have about this many bytes at most, whatever the rows are.
BATCH_BYTES = 32 * 2**20
#: Decoded bytes that one task of Spark reads where there are enough of them; as many as Spark makes of files.
_PARTITION_BYTES = 128 * 2**20
#: Rows of open shapes may be of any size once they are decoded: so many are tried first, and then at most so many times
#: more from one try to the next.
_FIRST_ROWS = 4
_GROWTH = 8


def dataset_as_dataframe(
    spark: Any,
    dataset_url: Any,
    schema_fields: Iterable[Any] | None = None,
    *,
    where: Any = None,
    partitions: int | None = None,
    batch_bytes: int = BATCH_BYTES,
    filesystem: Any = None,
    codecs: Iterable[type[Codec]] = (),
) -> Any:
    """The rows of a dataset, decoded, as a DataFrame, in stored order. Its row groups are read on Spark's workers by us
    and not by Spark, so that all stored types, codecs and filesystems that we know come out, and only listed files.

    spark: a SparkSession, also of Spark Connect. dataset_url: anything `open_dataset` takes that Spark's workers see,
    or what it returned. schema_fields: names, regular expressions that match a whole name, or fields; all unless told.
    where: rows, as `make_dataset` takes it; row groups whose statistics show that they have none are not read.
    partitions: of the DataFrame; by default about 128 MiB of decoded rows each. batch_bytes: of rows that a worker
    decodes at once. filesystem, codecs: as in `open_dataset`.

    Columns, all nullable where the field is: numbers as the same type of Spark or the next wider (uint8 Short, uint16
    Integer, uint32 Long, uint64 Decimal(20, 0), float16 Float), bool Boolean, str String, bytes Binary, Decimal
    Decimal(p, s) as stored or else (38, 18), String where stored as text; date Date, datetime64 TimestampNTZ, Timestamp
    where stored with a zone. Other shapes are arrays of these, an array in an array for each dimension.

    Raises OptionError for what can't work and what `open_dataset` raises; SchemaError for a type that Spark has not.
    Damaged data, naming file, row group, row and field, and EncodeError for a value that Spark has not, such as
    nanoseconds, reach the driver as an error of Spark that has our message.
    """
    stored = dataset_url
    if not isinstance(stored, StoredDataset):
        stored = open_dataset(dataset_url, filesystem=filesystem, codecs=codecs)
    batch_bytes = whole_number("batch_bytes", batch_bytes, 1)
    spec, _ = specify(
        stored,
        schema_fields,
        (),
        where=where,
        split=None,
        transform=None,
        nulls=Nulls.KEEP,
        skip=None,
        ngram=None,
    )
    columns, schema = _schemas(spec.output)
    tasks, costs = _tasks(stored, spec, batch_bytes)
    if not len(tasks):
        return spark.createDataFrame([], schema)
    if partitions is None:
        total = int(((tasks.stop - tasks.start) * costs[tasks.row_group]).sum())
        partitions = max(_parallelism(spark), -(-total // _PARTITION_BYTES))
    count = min(whole_number("partitions", partitions, 1), len(tasks))
    # Contiguous ranges of tasks, so that rows keep their order.
    numbers = spark.range(0, len(tasks), 1, count)
    return numbers.mapInArrow(_ReadTasks(spec, tasks, costs, columns, batch_bytes), schema)


def decode_frame(
    frame: Any, schema: Unischema, schema_fields: Iterable[Any] | None = None, *, batch_bytes: int = BATCH_BYTES
) -> Any:
    """A DataFrame of encoded columns, such as SQL makes of `stored_dataframe`, with the fields of a schema decoded.

    frame: has a column for each field; others are left out. schema, schema_fields: whose fields, and which of them.
    batch_bytes: of rows that a worker decodes at once. Columns and errors are those of `dataset_as_dataframe`, but that
    nobody knows any more which file a row came from.

    Raises SchemaError if a column is missing.
    """
    fields = list(schema if schema_fields is None else schema.create_schema_view(schema_fields))
    missing = [field.name for field in fields if field.name not in frame.columns]
    if missing or not fields:
        raise SchemaError(
            describe(f"The DataFrame lacks columns {missing}", expected=[f.name for f in fields], found=frame.columns)
            if missing
            else "No field is left to decode."
        )
    batch_bytes = whole_number("batch_bytes", batch_bytes, 1)
    columns, made = _schemas(fields)
    chosen = frame.select(*(quoted(field.name) for field in fields))
    return chosen.mapInArrow(_DecodeBatches(fields, columns, batch_bytes), made)


def _schemas(fields: Sequence[UnischemaField]) -> tuple[pa.Schema, Any]:
    """The Arrow schema of decoded batches, and Spark's of the DataFrame."""
    types = spark_types()
    columns = pa.schema([pa.field(field.name, decoded_type(field), field.nullable) for field in fields])
    return columns, types.StructType(
        [types.StructField(column.name, spark_type_of(column.type), column.nullable) for column in columns]
    )


def _tasks(stored: StoredDataset, spec: ReadSpec, batch_bytes: int) -> tuple[TaskTable, Array]:
    """The read tasks, none much larger than `batch_bytes`, and float64 `[row groups]`, what a row of each costs."""
    keep = np.ones(len(stored.inventory.row_group_rows), bool)
    if spec.where is not None and spec.where.pruning is not None:
        keep &= prune(stored, spec.where.pruning)
    costs = row_bytes(spec.read_fields, stored.inventory, stored.column_paths, stored.file_metadata)
    return slice_row_groups(stored.inventory.row_group_rows, keep, costs, batch_bytes), costs


def _parallelism(spark: Any) -> int:
    """How many tasks Spark runs at once; Spark Connect does not tell."""
    try:
        return int(spark.sparkContext.defaultParallelism)
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("pyspark", "builtins"):
            raise
        return int(spark.conf.get("spark.sql.shuffle.partitions"))


# ---------------------------------------------------------------------- on Spark's workers


@dataclass(frozen=True, eq=False)
class _ReadTasks:
    """For `mapInArrow`: batches of numbers of read tasks in, their decoded rows out.

    costs: float64 `[row groups]`, what a row is expected to cost.
    """

    spec: ReadSpec
    tasks: TaskTable
    costs: Array
    columns: pa.Schema
    batch_bytes: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        reader = TaskReader(self.spec)
        steps = _Steps(self.batch_bytes)
        try:
            for batch in batches:
                for number in batch.column(0).to_pylist():
                    task = self.tasks.task(number)
                    start, cost = task.start, float(self.costs[task.row_group])
                    while start < task.stop:
                        stop = min(task.stop, start + steps.rows(cost))
                        result = reader.run(ReadTask(task.row_group, start, stop))
                        place = self.spec.source.place(task.row_group, start)
                        whole = _batch(self.spec.output, result.columns, self.columns, place)
                        steps.took(stop - start, whole)
                        start = stop
                        del result
                        yield from _pieces(whole, self.batch_bytes)
        finally:
            reader.close()


@dataclass(frozen=True, eq=False)
class _DecodeBatches:
    """For `mapInArrow`: batches of encoded rows in, decoded ones out."""

    fields: Sequence[UnischemaField]
    columns: pa.Schema
    batch_bytes: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        steps = _Steps(self.batch_bytes)
        for batch in batches:
            start = 0
            while start < batch.num_rows:
                encoded = batch.slice(start, steps.rows(batch.nbytes / batch.num_rows))
                whole = _batch(self.fields, self._decoded(encoded), self.columns, None)
                steps.took(encoded.num_rows, whole)
                start += encoded.num_rows
                yield from _pieces(whole, self.batch_bytes)

    def _decoded(self, batch: pa.RecordBatch) -> dict[str, Column]:
        return {
            field.name: decode_column(field, _unsigned(field, batch.column(i)), _Raise(field.name))
            for i, field in enumerate(self.fields)
        }


class _Steps:
    """How many rows to decode at once so that they take about `most` bytes, by what those before took."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = _FIRST_ROWS
        self._row_bytes = 1.0

    def rows(self, least_bytes: float) -> int:
        """least_bytes: what one of the next rows takes at least, as far as is known."""
        return max(1, min(self._limit, int(self._most / max(self._row_bytes, least_bytes))))

    def took(self, rows: int, decoded: pa.RecordBatch) -> None:
        """So many rows were decoded, of which these came out."""
        self._row_bytes = max(self._row_bytes, decoded.nbytes / max(1, decoded.num_rows))
        self._limit = max(self._limit, _GROWTH * rows)


def _unsigned(field: UnischemaField, array: pa.Array) -> pa.Array:
    """Spark reads uint64 as a decimal."""
    return array.cast(pa.uint64()) if field.dtype == np.uint64 and pa.types.is_decimal(array.type) else array


@dataclass(frozen=True)
class _Raise:
    field: str

    def __call__(self, row: int, reason: str) -> NoReturn:
        raise bad_cell_error(reason, Place(field=self.field))


def _batch(
    fields: Sequence[UnischemaField], columns: dict[str, Column], schema: pa.Schema, place: Place | None
) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([to_arrow(field, columns[field.name], place) for field in fields], schema=schema)


def _pieces(batch: pa.RecordBatch, most: int) -> Iterator[pa.RecordBatch]:
    """A batch in pieces of about so many bytes, or of one row."""
    rows = max(1, batch.num_rows * most // max(1, batch.nbytes))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)

"""A dataset as a decoded DataFrame: its row groups read on Spark's workers, or columns that Spark read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import Place, SchemaError, describe
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.schema.codecs import decode_column
from tfpetastorm.schema.codecs.base import Codec, bad_cell_error
from tfpetastorm.schema.columns import Columns
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.spark_types import spark_types
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.spark.decoded_arrow import decoded_type, spark_type_of, to_arrow
from tfpetastorm.spark.reading import BATCH_BYTES, Reading, Steps
from tfpetastorm.spark.stored_frame import quoted
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.opening import open_dataset


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
    reading = Reading.of(stored, schema_fields, where, batch_bytes)
    columns, schema = _schemas(reading.spec.output)
    if not len(reading.tasks):
        return spark.createDataFrame([], schema)
    numbers = spark.range(0, len(reading.tasks), 1, reading.partitions(spark, partitions))
    return numbers.mapInArrow(_ReadTasks(reading, columns), schema)


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
    # Spark looks up what it hands over by name, and takes a dot for a member of a struct.
    chosen = frame.select(*(quoted(field.name).alias(f"c{i}") for i, field in enumerate(fields)))
    return chosen.mapInArrow(_DecodeBatches(fields, columns, batch_bytes), made)


def _schemas(fields: Sequence[UnischemaField]) -> tuple[pa.Schema, Any]:
    """The Arrow schema of decoded batches, and Spark's of the DataFrame."""
    types = spark_types()
    columns = pa.schema([pa.field(field.name, decoded_type(field), field.nullable) for field in fields])
    return columns, types.StructType(
        [types.StructField(column.name, spark_type_of(column.type), column.nullable) for column in columns]
    )


# ---------------------------------------------------------------------- on Spark's workers


@dataclass(frozen=True, eq=False)
class _ReadTasks:
    """For `mapInArrow`: batches of numbers of read tasks in, their decoded rows out."""

    reading: Reading
    columns: pa.Schema

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers = (number for batch in batches for number in batch.column(0).to_pylist())
        for whole in self.reading.parts(numbers, self._made):
            yield from _pieces(whole, self.reading.batch_bytes)

    def _made(self, columns: Columns, place: Place) -> tuple[pa.RecordBatch, int, int]:
        made = _batch(self.reading.spec.output, columns, self.columns, place)
        return made, made.num_rows, made.nbytes


@dataclass(frozen=True, eq=False)
class _DecodeBatches:
    """For `mapInArrow`: batches of encoded rows in, decoded ones out."""

    fields: Sequence[UnischemaField]
    columns: pa.Schema
    batch_bytes: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        steps = Steps(self.batch_bytes)
        for batch in batches:
            start = 0
            while start < batch.num_rows:
                encoded = batch.slice(start, steps.rows(batch.nbytes / batch.num_rows))
                whole = _batch(self.fields, self._decoded(encoded), self.columns, None)
                steps.took(encoded.num_rows, whole.num_rows, whole.nbytes)
                start += encoded.num_rows
                yield from _pieces(whole, self.batch_bytes)

    def _decoded(self, batch: pa.RecordBatch) -> Columns:
        return {
            field.name: decode_column(field, _unsigned(field, batch.column(i)), _Raise(field.name))
            for i, field in enumerate(self.fields)
        }


def _unsigned(field: UnischemaField, array: pa.Array) -> pa.Array:
    """Spark reads uint64 as a decimal."""
    return array.cast(pa.uint64()) if field.dtype == np.uint64 and pa.types.is_decimal(array.type) else array


@dataclass(frozen=True)
class _Raise:
    field: str

    def __call__(self, row: int, reason: str) -> NoReturn:
        raise bad_cell_error(reason, Place(field=self.field))


def _batch(
    fields: Sequence[UnischemaField], columns: Columns, schema: pa.Schema, place: Place | None
) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([to_arrow(field, columns[field.name], place) for field in fields], schema=schema)


def _pieces(batch: pa.RecordBatch, most: int) -> Iterator[pa.RecordBatch]:
    """A batch in pieces of about so many bytes, or of one row."""
    rows = max(1, batch.num_rows * most // max(1, batch.nbytes))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)

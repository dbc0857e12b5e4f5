"""`encode_frame`: a DataFrame of values encoded by a schema's codecs, a few columns at a time instead of row by row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from tfpetastorm.errors import EncodeError, OptionError, TransformError, describe
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.schema.codecs import ScalarCodec, arrow_type, encode_column
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.spark.frame_cells import encode_given, encode_stored
from tfpetastorm.spark.generated import columns_for, results_of
from tfpetastorm.spark.precision import is_vector, with_arrays
from tfpetastorm.spark.stored_types import encoded_schema, stored_kind, to_stored
from tfpetastorm.writing.chunks import check_keys, size_of

#: Columns of some rows of a DataFrame in, columns of fields out; or, for much of few rows, some of them at a time.
Generate: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any] | Iterable[Mapping[str, Any]]]

_ROW = re.compile(r"\brow (\d+)(?=\))")
#: After a few rows the next are so many times as many, as long as they fit: what rows take is known only afterwards.
_GROWTH = 8


def encode_frame(
    frame: Any,
    schema: Unischema,
    generate: Generate | None = None,
    *,
    encoded: Sequence[str] = (),
    batch_bytes: int = 16 << 20,
) -> Any:
    """A DataFrame of encoded rows, for `materialize_dataset`: as `dict_to_spark_row` makes them, but far faster.

    `with materialize_dataset(spark, url, Schema): encode_frame(frame, Schema).write.parquet(url)`. Columns are encoded
    by Spark's Python workers, whole batches at once (`mapInArrow`), when the DataFrame is written.

    frame: one whose columns have the fields' names; those of nullable fields may be missing. Scalars are of a type that
    holds them: whatever has another value in the field's type is an error. Arrays are nested lists, as deep as the
    field's shape. Where that leaves at most one dimension open, they may also be flat lists, or, of numbers and times,
    binary: the items' bytes in C order. Vectors of `pyspark.ml` are arrays too.
    generate: makes the fields' columns instead, so that `spark.range(n)` becomes n images in the workers. It is given
    some rows of `frame`, a dict of columns: NumPy arrays, of objects where there are nulls, text or lists. It returns a
    dict with what `DatasetWriter.write_batch` takes, for as many rows as it likes, or yields several.
    encoded: names of fields whose cells are encoded already, such as the files of `spark.read.format("binaryFile")`.
    Each is decoded once, so that a damaged one is an error here.
    batch_bytes: about how many bytes of values, before and after encoding, a worker holds at once. Few rows are handed
    to `generate` at first, then as many as fit. What Spark hands the worker at once is for Spark's settings to bound:
    `materialize_dataset` sees to it.

    Raises OptionError for columns that are not the schema's, SchemaError for a field that Spark has no type for. When
    the DataFrame is written, Spark's own error tells of an EncodeError that names field, row (of its partition),
    expected and found, or of what `generate` raised.
    """
    if not isinstance(schema, Unischema):
        raise OptionError(f"encode_frame takes a Unischema, not {type(schema).__name__}.")
    if not hasattr(frame, "mapInArrow"):
        raise OptionError(f"encode_frame takes a DataFrame of Spark, not {type(frame).__name__}.")
    names = frozenset([encoded] if isinstance(encoded, str) else encoded)
    _check_encoded(schema, names, generate)
    limit = whole_number("batch_bytes", batch_bytes, 1)
    types = encoded_schema(schema)
    if generate is None:
        _check_columns(schema, frame.columns)
    elif not callable(generate):
        raise OptionError(f"generate= takes a function of columns, not {generate!r:.60}.")
    if any(is_vector(field.dataType) for field in frame.schema.fields):
        frame = with_arrays(frame, None)
    given = tuple(frame.columns)
    # Spark looks up what it hands over by name, and takes a dot for a member of a struct.
    frame = frame.toDF(*(f"c{i}" for i in range(len(given))))
    return frame.mapInArrow(_Encode(schema, generate, given, names, limit), types)


def _check_encoded(schema: Unischema, names: frozenset[str], generate: Generate | None) -> None:
    if names and generate is not None:
        raise OptionError("encoded= is for columns of a DataFrame; generate= returns encoded cells as Arrow arrays.")
    for name in sorted(names):
        if name not in schema.fields:
            raise OptionError(f"encoded= names {name!r}, which is no field. Fields: {', '.join(schema.fields)}.")
        field = schema.fields[name]
        bare = field.codec is None or isinstance(field.codec, ScalarCodec)
        if bare or not pa.types.is_binary(arrow_type(field)):
            raise OptionError(f"encoded= names {name!r}, whose cells no codec encodes to bytes.")


def _check_columns(schema: Unischema, columns: Sequence[str]) -> None:
    missing = [field.name for field in schema if field.name not in columns and not field.nullable]
    unknown = [name for name in columns if name not in schema.fields]
    twice = sorted({name for name in columns if list(columns).count(name) > 1})
    if missing or unknown or twice:
        raise OptionError(
            describe(
                f"The DataFrame's columns are not the fields of {schema.schema_name!r}",
                expected=", ".join(schema.fields),
                found=", ".join(columns),
                remedy="Select those, or give generate= a function that makes them.",
            )
        )


class _Encode:
    """Sent to Spark's workers: batches of a partition in, encoded ones out.

    given: what the columns of the batches are called, whose own names are others.
    """

    def __init__(
        self,
        schema: Unischema,
        generate: Generate | None,
        given: tuple[str, ...],
        encoded: frozenset[str],
        limit: int,
    ) -> None:
        self._schema = schema
        self._generate = generate
        self._given = given
        self._encoded = encoded
        self._limit = limit

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        partition = _partition()
        count, given, made = 1, 0, 0
        for batch in batches:
            start = 0
            while start < batch.num_rows:
                part = self._fitting(batch.slice(start, count))
                most = 1
                for columns, rows, size in self._columns(part, given, partition):
                    done = self._stored(columns, rows, made, partition)
                    most = max(most, size + done.nbytes)
                    made += rows
                    yield done
                start += part.num_rows
                given += part.num_rows
                count = max(1, min(max(count, _GROWTH * part.num_rows), self._limit * part.num_rows // most))

    def _fitting(self, part: pa.RecordBatch) -> pa.RecordBatch:
        # What is given is known beforehand: it may have grown since the rows before.
        while part.num_rows > 1 and part.nbytes > self._limit:
            part = part.slice(0, part.num_rows // 2)
        return part

    def _columns(
        self, part: pa.RecordBatch, first: int, partition: str
    ) -> Iterator[tuple[Mapping[str, Any], int, int]]:
        """Columns of cells by field, how many rows they have, and their bytes."""
        if self._generate is None:
            yield dict(zip(self._given, part.columns, strict=True)), part.num_rows, part.nbytes
            return
        where = f"rows {first} to {first + part.num_rows - 1}{partition}"
        for columns in results_of(self._generate, columns_for(self._given, part.columns), where):
            check_keys(self._schema, columns, None)
            lengths = {name: len(cells) for name, cells in columns.items()}
            if len(set(lengths.values())) != 1:
                raise TransformError(
                    describe(f"What generate returned for {where} differs in length", expected="one", found=lengths)
                )
            rows = next(iter(lengths.values()))
            yield columns, rows, sum(size_of(cells, rows) for cells in columns.values())

    def _stored(self, columns: Mapping[str, Any], rows: int, first: int, partition: str) -> pa.RecordBatch:
        arrays = []
        for field in self._schema:
            cells = columns.get(field.name)
            try:
                if cells is None:
                    array = encode_column(field, [None] * rows)
                elif self._generate is not None:
                    array = encode_column(field, cells)
                else:
                    array = (encode_stored if field.name in self._encoded else encode_given)(field, cells)
                arrays.append(to_stored(field, array))
            except EncodeError as error:
                # Codecs count from the start of what they are given.
                message = _ROW.sub(lambda match: f"row {int(match[1]) + first}{partition}", str(error), 1)
                raise EncodeError(message) from error.__cause__
        kinds = [pa.field(field.name, stored_kind(field), field.nullable) for field in self._schema]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(kinds))


def _partition() -> str:
    from pyspark import TaskContext

    context = TaskContext.get()
    return "" if context is None else f" of partition {context.partitionId()}"

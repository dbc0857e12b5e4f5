"""How Transform writes transformed examples as Parquet: with the columns that the transformed schema names.

TFX writes the record batches as they come, whose ragged features have other names than in the schema
(`x`, not `x$ragged_values`), so that whoever reads by the schema finds none; and it makes Python dicts of all rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from tfx.components.transform import executor as transform
from tfx.proto import example_gen_pb2
from tfx_bsl.coders import example_coder

from tfpetastorm.tfx.hook import Hook
from tfpetastorm.tfx.scope import in_scope

#: The name of Parquet among TFX's file formats.
PARQUET = example_gen_pb2.FileFormat.Name(example_gen_pb2.FILE_FORMAT_PARQUET)


def _in_our_form(own: Any) -> Any:
    class Processor(own):
        """TFX's, but for how Parquet is written in a scope."""

        @staticmethod
        @beam.ptransform_fn  # type: ignore[untyped-decorator]
        def _EncodeAndWrite(batches: Any, schema: Any, file_format: str, output_path: str) -> Any:  # noqa: N802
            if file_format != PARQUET or not in_scope():
                written = own._EncodeAndWrite(schema=schema, file_format=file_format, output_path=output_path)  # noqa: SLF001
                return batches | "EncodeAndWrite" >> written
            return (
                batches
                | "TakeRecordBatches" >> beam.Keys()
                | "NameAsTheSchema" >> beam.ParDo(_AsStored(schema))
                | "WriteToParquet"
                >> beam.io.WriteToParquetBatched(
                    output_path, _decoder(schema).ArrowSchema(), file_name_suffix=".parquet", codec="snappy"
                )
            )

    return Processor


#: The class that Transform's executor makes its work of.
materialization = Hook(transform, "TransformProcessor", "_EncodeAndWrite", _in_our_form)


class _AsStored(beam.DoFn):
    """Record batches of tensors as those of their `tf.Example`s, which is what the schema describes."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def setup(self) -> None:
        """Make what can't be pickled."""
        self._encoder = example_coder.RecordBatchToExamplesEncoder(self._schema)
        self._decoder = _decoder(self._schema)

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.Table]:
        """One table of a batch."""
        yield pa.Table.from_batches([self._decoder.DecodeBatch(self._encoder.encode(batch))])


def _decoder(schema: Any) -> Any:
    return example_coder.ExamplesToRecordBatchDecoder(schema.SerializeToString())

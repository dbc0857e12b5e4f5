"""`UnischemaTFXIO`: Parquet with a Unischema as a TFXIO, the way in which TFX's libraries read data."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.tfxio import dataset_options, tensor_adapter, tensor_representation_util, tfxio

from tfpetastorm.errors import OptionError, Place, SchemaMismatchError, describe
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.stores.filesystem import Url
from tfpetastorm.tfxio.batches import record_batches
from tfpetastorm.tfxio.beam_source import ReadExamples
from tfpetastorm.tfxio.dataset import tensorflow_dataset
from tfpetastorm.tfxio.features import arrow_schema, features_of
from tfpetastorm.tfxio.input import ExamplesInput, restricted


class UnischemaTFXIO(tfxio.TFXIO):
    """Parquet files with a Unischema, or plain ones, as TFX's libraries read data: takes ParquetTFXIO's place.

    Rows are decoded as their stored Unischema says, and shown as the schema proto says. Codecs are decoded but for
    images, which TFX knows by their encoded bytes. Numbers, bools and times are int64, floats float32; text, bytes and
    Decimals (their digits) are bytes. In record batches a cell is a list, of a fixed shape and of one open dimension a
    flat one, and a null is a null. Features that the proto lacks are left out; those that the data lacks are null.

    Args:
        file_pattern: one or several paths, globs or URLs of files or folders, on one filesystem.
        schema: the schema proto; by default that of the stored Unischema.
        column_names: of its features, those to read; all by default.
        codecs: the user's own codec classes that the Unischema names.
        filesystem: a pyarrow or fsspec filesystem on which the patterns are paths.
        validate: whether to look for the files now, rather than when they are read.
        min_bundle_size: ignored, as row groups are what is given out; there for ParquetTFXIO's sake.
        telemetry_descriptors: of the component, for the names of Beam's metrics.

    Raises:
        DatasetError: there are no such files, or they are damaged. SchemaMismatchError: the proto and what is stored
        contradict one another; names the feature. OptionError: an argument can't work. Without `validate`, and for a
        damaged row, they are raised by what reads.
    """

    def __init__(
        self,
        file_pattern: Url,
        *,
        schema: schema_pb2.Schema | None = None,
        column_names: Iterable[str] | None = None,
        codecs: Iterable[type[Codec]] = (),
        filesystem: Any = None,
        validate: bool = True,
        min_bundle_size: int = 0,
        telemetry_descriptors: list[str] | None = None,
    ) -> None:
        del min_bundle_size
        super().__init__()
        given: object = schema
        if given is not None and not isinstance(given, schema_pb2.Schema):
            raise OptionError(f"schema is a schema_pb2.Schema or None, not {given!r:.200}.")
        self._telemetry_descriptors = telemetry_descriptors
        if isinstance(column_names, str):
            raise OptionError(f"column_names is a list of names, not the text {column_names!r}.")
        names = None if column_names is None else tuple(column_names)
        proto = None if schema is None else restricted(schema, names)
        self._input = ExamplesInput(file_pattern, filesystem, tuple(codecs), proto, names)
        if validate:
            self._input.open()

    @property
    def telemetry_descriptors(self) -> list[str] | None:
        """As given."""
        return self._telemetry_descriptors

    @property
    def schema(self) -> schema_pb2.Schema:
        """The schema proto of what is read."""
        return self._input.open().proto if self._input.proto is None else self._input.proto

    def BeamSource(self, batch_size: int | None = None) -> beam.PTransform:
        """A PTransform from a pipeline to RecordBatches of `ArrowSchema()`, by row groups, in no order.

        batch_size: rows of a batch, fewer in the last of each row group. By default about 1000, fewer of large rows.
        """
        size = None if batch_size is None else whole_number("batch_size", batch_size, 1)
        return ReadExamples(self._input, size, self._telemetry_descriptors)

    def RecordBatches(self, options: dataset_options.RecordBatchesOptions) -> Iterator[pa.RecordBatch]:
        """The rows as RecordBatches, those of `TensorFlowDataset` for the same options and seed. No batch spans two
        epochs. num_epochs=None goes on forever, as upstream."""
        return record_batches(self._input.open(), options)

    def TensorFlowDataset(self, options: dataset_options.TensorFlowDatasetOptions) -> Any:
        """A tf.data.Dataset of dicts of the tensors that `TensorAdapter()` makes; `(dict, label)` with label_key.

        Of the options, shuffle_buffer_size is how many rows are mixed at once (fewer of large rows; row groups are
        permuted too), parser_num_threads is not needed. No batch spans two epochs. Where a tf.distribute strategy with
        several workers is in scope, each reads its part of every batch; give them one shuffle_seed.
        """
        return tensorflow_dataset(self._input.open(), self.TensorRepresentations(), self.TensorAdapter(), options)

    def ArrowSchema(self) -> pa.Schema:
        """The schema of all RecordBatches."""
        if self._input.proto is None or self._input.is_open:
            return self._input.reading.schema
        return arrow_schema(features_of(self._input.proto, None))

    def TensorRepresentations(self) -> tensor_adapter.TensorRepresentations:
        """What tensors there are, by name: as the schema says, or TFX infers of it.

        Raises SchemaMismatchError naming the feature for lists in lists that would be sparse.
        """
        found = tensor_representation_util.InferTensorRepresentationsFromMixedSchema(self.schema)
        nested = {one.name for one in self.schema.feature if len(one.value_counts.value_count) > 1}
        for name, representation in found.items():
            if representation.varlen_sparse_tensor.column_name in nested:
                raise SchemaMismatchError(
                    describe(
                        "Lists in lists can't be a sparse tensor",
                        Place(field=name),
                        remedy="Set represent_variable_length_as_ragged in the schema, or remove the feature.",
                    )
                )
        return found

    def _ProjectImpl(self, tensor_names: list[str]) -> UnischemaTFXIO:
        schema = tensor_representation_util.ProjectTensorRepresentationsInSchema(self.schema, tensor_names)
        projected = copy.copy(self)
        projected._input = self._input.with_proto(schema)  # noqa: SLF001 - its own class
        return projected

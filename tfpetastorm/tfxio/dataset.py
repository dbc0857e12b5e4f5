"""The dataset of tensors: make_dataset's, in the form of the tensors that tfx-bsl makes of record batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from tfpetastorm.errors import OptionError, Place, SchemaMismatchError, describe
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.nulls import Nulls, valid_name
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.tfdata.dataset import make_dataset
from tfpetastorm.tfxio.batches import record_batches, shuffle_of
from tfpetastorm.tfxio.features import Feature
from tfpetastorm.tfxio.input import Examples
from tfpetastorm.tfxio.reading import fields_read
from tfpetastorm.tfxio.tensors import as_spec, none_of


def tensorflow_dataset(examples: Examples, representations: Any, adapter: Any, options: Any) -> Any:
    """A dataset of dicts of tensors, `(dict, label)` if there is a label.

    adapter: tfx-bsl's TensorAdapter, and representations what it was made of. options: its TensorFlowDatasetOptions.
    Raises OptionError for options that can't work, SchemaMismatchError for a dense tensor of a feature that the data
    lacks.
    """
    specs = adapter.TypeSpecs()
    if not specs:
        raise OptionError("There is no tensor to make: the schema, or column_names, names no feature that is in use.")
    label = options.label_key
    if label is not None and label not in specs:
        raise OptionError(f"label_key={label!r} is none of the tensors {sorted(specs)}.")

    def shaped(tensors: dict[str, Any]) -> Any:
        return tensors if label is None else (tensors, tensors.pop(label))

    by_name = {feature.name: feature for feature in examples.reading.features}
    tensors = [_tensor_of(name, spec, representations[name], by_name) for name, spec in specs.items()]
    known = [tensor for tensor in tensors if tensor is not None]
    rows = examples.stored.num_rows
    if not rows or (options.drop_final_batch and rows < whole_number("batch_size", options.batch_size, 1)):
        dataset = _generated(lambda: iter(()), shaped(dict(specs)))
    elif len(known) < len(tensors):
        # Of several columns, or of lists cut by another column: rare, and left to who knows how.
        def adapted() -> Iterator[Any]:
            return (shaped(adapter.ToBatchTensors(batch)) for batch in record_batches(examples, options))

        dataset = _generated(adapted, shaped(dict(specs)))
    else:
        dataset, keys = _in_graph(examples, options)

        def made(given: dict[str, Any]) -> Any:
            return shaped({tensor.name: tensor.made(given, keys) for tensor in known})

        dataset = dataset.map(tf.autograph.experimental.do_not_convert(made), tf.data.AUTOTUNE)
    if options.sloppy_ordering:
        sloppy = tf.data.Options()
        sloppy.deterministic = False
        dataset = dataset.with_options(sloppy)
    return dataset.prefetch(options.prefetch_buffer_size)


def _generated(made: Callable[[], Iterator[Any]], signature: Any) -> Any:
    return tf.data.Dataset.from_generator(made, output_signature=signature)


def _in_graph(examples: Examples, options: Any) -> tuple[Any, dict[str, str]]:
    """The fields that tensors are made of, as make_dataset gives them, and the key of each."""
    names = fields_read(examples.stored, examples.reading.features)
    stored, keys = _apart_from_masks(examples.stored, names)
    nulls = {keys[name]: Nulls.MASK for name in names if stored.schema.fields[keys[name]].nullable}
    threads = options.reader_num_threads
    dataset = make_dataset(
        stored,
        fields=list(keys.values()),
        batch_size=options.batch_size,
        drop_remainder=options.drop_final_batch,
        epochs=options.num_epochs,
        shuffle=shuffle_of(examples, options),
        seed=options.shuffle_seed,
        even="drop",
        nulls=nulls,
        pool=PoolOptions(workers=threads if threads and threads > 0 else None),
    )
    return dataset, keys


def _apart_from_masks(stored: StoredDataset, names: list[str]) -> tuple[StoredDataset, dict[str, str]]:
    """The dataset with those fields renamed that are called like the mask of another, and what each is called now."""
    masks = {valid_name(name) for name in names if stored.schema.fields[name].nullable}
    keys = {name: name for name in names}
    for name in masks & set(names):
        while keys[name] in masks or keys[name] in stored.schema.fields:
            keys[name] += " (field)"
    if all(name == key for name, key in keys.items()):
        return stored, keys
    fields = [replace(field, name=keys.get(field.name, field.name)) for field in stored.schema]
    return replace(
        stored,
        schema=Unischema.rebuilt(stored.schema.schema_name, fields),
        column_paths={keys.get(name, name): path for name, path in stored.column_paths.items()},
        partition_fields={keys.get(name, name): values for name, values in stored.partition_fields.items()},
    ), keys


@dataclass(frozen=True)
class _Tensor:
    """One tensor of the dataset, made of one column. default: what a missing row of a dense one is full of."""

    name: str
    spec: Any
    feature: Feature
    default: Any = None

    def made(self, given: Mapping[str, Any], keys: Mapping[str, str]) -> Any:
        """The tensor, in the graph. keys: of the fields given."""
        field = self.feature.field
        if field is None:
            rows = _rows(next(iter(given.values())))
            sizes = self.spec.shape[1:].as_list() if isinstance(self.spec, tf.TensorSpec) else [1] * self.feature.depth
            nothing = tf.zeros([rows, *sizes], self.spec.dtype)
            return as_spec(self.name, nothing, tf.zeros([rows], tf.bool), self.spec, self.default)
        key = keys[field.name]
        tensor, valid = given[key], given[valid_name(key)] if field.nullable else None
        if field.kind in ("datetime", "date"):
            tensor, valid = self._without_nat(tensor, valid)
        return as_spec(self.name, tensor, valid, self.spec, self.default)

    def _without_nat(self, tensor: Any, valid: Any) -> tuple[Any, Any]:
        """NaT is a missing row; in an array there is nothing that it could be."""
        if not isinstance(tensor, tf.RaggedTensor) and tensor.shape.rank == 1:
            there = tensor != tensor.dtype.min
            return tensor, there if valid is None else there & valid
        values = tensor.flat_values if isinstance(tensor, tf.RaggedTensor) else tensor
        message = f"feature {self.name} has a NaT in a list, and tf.Examples have none there"
        with tf.control_dependencies([none_of(tensor, values == values.dtype.min, message)]):
            return tf.identity(tensor), valid


def _rows(tensor: Any) -> Any:
    return tensor.nrows() if isinstance(tensor, tf.RaggedTensor) else tf.shape(tensor)[0]


def _tensor_of(name: str, spec: Any, representation: Any, features: Mapping[str, Feature]) -> _Tensor | None:
    """How a tensor is made in the graph; None if that can't be."""
    kind = representation.WhichOneof("kind")
    said = getattr(representation, kind)
    default = None
    if kind == "ragged_tensor":
        path = said.feature_path.step
        if len(path) != 1 or any(part.HasField("row_length") for part in said.partition):
            return None
        column = path[0]
        if spec.ragged_rank != features[column].depth:
            return None
    elif kind in ("dense_tensor", "varlen_sparse_tensor"):
        column = said.column_name
        if kind == "dense_tensor" and said.HasField("default_value"):
            default = getattr(said.default_value, said.default_value.WhichOneof("kind"))
    else:
        return None
    feature = features[column]
    if feature.field is None and kind == "dense_tensor" and default is None:
        raise SchemaMismatchError(
            describe(
                "The data lacks a feature that is a dense tensor",
                Place(field=name),
                expected=spec,
                found="no such column",
                remedy="Remove the feature from the schema, or its shape, so that it may be missing.",
            )
        )
    return _Tensor(name, spec, feature, default)

"""The dataset of tensors: make_dataset's, in the form of the tensors that tfx-bsl makes of record batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfpetastorm.errors import OptionError, Place, SchemaMismatchError, describe
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.nulls import Nulls, valid_name
from tfpetastorm.tfdata.dataset import make_dataset
from tfpetastorm.tfxio.batches import shuffle_of
from tfpetastorm.tfxio.features import Feature
from tfpetastorm.tfxio.input import Examples
from tfpetastorm.tfxio.reading import fields_read
from tfpetastorm.tfxio.tensors import as_spec


def tensorflow_dataset(examples: Examples, representations: Any, specs: Mapping[str, Any], options: Any) -> Any:
    """A dataset of dicts of tensors. specs: of each tensor. options: tfx-bsl's TensorFlowDatasetOptions."""
    label = options.label_key
    if label is not None and label not in specs:
        raise OptionError(f"label_key={label!r} is none of the tensors {sorted(specs)}.")
    features = {feature.name: feature for feature in examples.reading.features}
    tensors = [_Tensor.of(name, spec, representations[name], features) for name, spec in specs.items()]
    shape = (lambda given: given) if label is None else (lambda given: (given, given.pop(label)))

    stored = examples.stored
    if not stored.num_rows:
        signature = shape(dict(specs))
        return tf.data.Dataset.from_generator(lambda: iter(()), output_signature=signature)
    names = fields_read(stored, examples.reading.features)
    nulls = {name: Nulls.MASK for name in names if stored.schema.fields[name].nullable}
    threads = options.reader_num_threads
    dataset = make_dataset(
        stored,
        fields=names,
        batch_size=options.batch_size,
        drop_remainder=options.drop_final_batch,
        epochs=options.num_epochs,
        shuffle=shuffle_of(options),
        seed=options.shuffle_seed,
        even="drop",
        nulls=nulls,
        pool=PoolOptions(workers=threads if threads and threads > 0 else None),
    )

    def shown(given: dict[str, Any]) -> Any:
        return shape({tensor.name: tensor.made(given) for tensor in tensors})

    made = dataset.map(tf.autograph.experimental.do_not_convert(shown), tf.data.AUTOTUNE)
    return made.prefetch(options.prefetch_buffer_size)


@dataclass(frozen=True)
class _Tensor:
    """One tensor of the dataset, of one column."""

    name: str
    spec: Any
    feature: Feature
    default: Any = None

    @classmethod
    def of(cls, name: str, spec: Any, representation: Any, features: Mapping[str, Feature]) -> _Tensor:
        kind = representation.WhichOneof("kind")
        said = getattr(representation, kind)
        default = None
        if kind == "dense_tensor":
            column = said.column_name
            if said.HasField("default_value"):
                default = getattr(said.default_value, said.default_value.WhichOneof("kind"))
        elif kind == "varlen_sparse_tensor":
            column = said.column_name
        elif kind == "ragged_tensor" and not any(part.HasField("row_length") for part in said.partition):
            column = said.feature_path.step[0]
        else:
            raise NotImplementedError(f"tensor {name}: {kind}")
        feature = features[column]
        if feature.field is None and kind == "dense_tensor" and default is None:
            raise SchemaMismatchError(
                describe(
                    "The data lacks a feature that is a dense tensor",
                    Place(field=name),
                    expected=spec,
                    remedy="Remove the feature from the schema, or give it no shape there.",
                )
            )
        return cls(name, spec, feature, default)

    def made(self, given: dict[str, Any]) -> Any:
        """The tensor, in the graph."""
        field = self.feature.field
        if field is None:
            rows = tf.shape(next(iter(given.values())))[0]
            return as_spec(
                self.name, tf.zeros([rows], self.spec.dtype), tf.zeros([rows], tf.bool), self.spec, self.default
            )
        valid = given.get(valid_name(field.name)) if field.nullable else None
        return as_spec(self.name, given[field.name], valid, self.spec, self.default)

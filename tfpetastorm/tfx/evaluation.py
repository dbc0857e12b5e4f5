"""What TFX's Evaluator needs to call a model on rows of Parquet. A module for its `module_path`: the functions have the
names and arguments that Evaluator calls.

TFMA hands a signature the features by name, or serialized `tf.Example`s. A SavedModel's signature takes dense tensors
alone, so that features which may be missing, or are open in size, fit none; and whatever a model takes, TFMA stops
where an input has no `tf.Example`s ("Raw examples not found"). Both are mended from outside, by its extension points.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.api import types
from tensorflow_model_analysis.extractors.predictions_extractor import PREDICTIONS_EXTRACTOR_STAGE_NAME
from tfx_bsl.coders import example_coder
from tfx_bsl.tfxio import tensor_adapter

from tfpetastorm.errors import OptionError, Place, SchemaMismatchError, describe
from tfpetastorm.tfx.serving import length_name
from tfpetastorm.tfxio.tensors import as_spec


def custom_eval_shared_model(
    eval_saved_model_path: str, model_name: str, eval_config: Any, **options: Any
) -> types.EvalSharedModel:
    """The model as TFMA loads it; of SavedModels, functions of features also take those that are ragged."""
    shared = tfma.default_eval_shared_model(
        eval_saved_model_path=eval_saved_model_path, model_name=model_name, eval_config=eval_config, **options
    )
    if shared.model_type != tfma.TF_GENERIC:
        return shared
    construct = functools.partial(CallableModel, eval_saved_model_path)
    return shared._replace(model_loader=types.ModelLoader(construct_fn=construct, tags=shared.model_loader.tags))


def custom_extractors(eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any) -> list[Any]:
    """TFMA's default extractors, and three of ours.

    One refuses rows without a label, where TFMA has "can only convert an array of size 1". One adds what stands for the
    raw record of each row, a `tf.Example` if a model's signature takes those and no features, else nothing; and lists
    of lists, which TFMA would leave out. The last hands on ragged features, which only slicing still needs, as lists of
    arrays: TFMA takes RaggedTensors apart row by row, at 5 ms each.
    """
    models = eval_shared_model if isinstance(eval_shared_model, list) else [eval_shared_model]
    paths = [one.model_path for one in models if one is not None and one.model_type == tfma.TF_GENERIC]
    names = [spec.signature_name for spec in eval_config.model_specs]
    found = {CallableModel(path).string_input(name) for path in paths for name in names}
    strings = sorted(name for name in found if name is not None)
    complete = functools.partial(_complete, strings=strings, nested=_nested(tensor_adapter_config))
    checked = functools.partial(_with_labels, labels=_labels(eval_config))
    extractors = [
        tfma.extractors.Extractor(stage_name="CheckLabels", ptransform=beam.Map(checked)),
        tfma.extractors.Extractor(stage_name="CompleteRows", ptransform=beam.Map(complete)),
    ]
    for one in tfma.default_extractors(
        eval_shared_model=eval_shared_model, eval_config=eval_config, tensor_adapter_config=tensor_adapter_config
    ):
        extractors.append(one)
        if one.stage_name == PREDICTIONS_EXTRACTOR_STAGE_NAME:
            extractors.append(tfma.extractors.Extractor(stage_name="ListRagged", ptransform=beam.Map(_with_lists)))
    return extractors


def _labels(eval_config: Any) -> list[str]:
    """The features that are labels as they are, of no function that the model brings."""
    specs = [spec for spec in eval_config.model_specs if not spec.preprocessing_function_names]
    return sorted({name for spec in specs for name in [spec.label_key, *spec.label_keys.values()] if name})


def _with_labels(extracts: dict[str, Any], labels: list[str]) -> dict[str, Any]:
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    for label in labels:
        known = label in batch.schema.names
        missing = batch.column(label).null_count if known else batch.num_rows
        if missing:
            raise SchemaMismatchError(
                describe(
                    "Rows can't be evaluated without their label",
                    Place(field=label),
                    expected="a value in every row",
                    found=f"none in {missing} of {batch.num_rows} rows" if known else batch.schema.names,
                    remedy="Leave such rows out of the split that is evaluated." if known else "Correct the label_key.",
                )
            )
    return extracts


def _nested(config: Any) -> tensor_adapter.TensorAdapterConfig | None:
    """What makes tensors of the columns of lists of lists; None if there are none, or there is no schema."""
    if config is None:
        return None
    fields = [field for field in config.arrow_schema if pa.types.is_nested(field.type.value_type)]
    names = {field.name for field in fields}
    representations = {name: one for name, one in config.tensor_representations.items() if name in names}
    return tensor_adapter.TensorAdapterConfig(pa.schema(fields), representations) if representations else None


class CallableModel:
    """A SavedModel as TFMA looks at one: `signatures`, by name, with `structured_input_signature`.

    A signature with inputs `[batch, n]` and `<name>_length`, such as `export_with_transform` makes, takes ragged
    features here. So do, as signatures beside them, the functions of one dict that the saved object has, such as its
    `serve`.
    """

    def __init__(self, path: str) -> None:
        # Kept, as its tables go when it goes.
        self._loaded = tf.saved_model.load(path, tags=[tf.saved_model.SERVING])
        self.signatures: dict[str, Any] = dict(_functions_of_dicts(self._loaded))
        for name, signature in self._loaded.signatures.items():
            specs = signature.structured_input_signature[1]
            padded = {feature for feature in specs if length_name(feature) in specs and specs[feature].shape.rank == 2}
            self.signatures[name] = _Padded(name, signature, specs, padded) if padded else signature

    def string_input(self, name: str) -> str | None:
        """The name of a signature's one input if that is of strings: of serialized `tf.Example`s, where the data has no
        feature of that name. Else None."""
        signature = self.signatures.get(name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY)
        specs = {} if signature is None else signature.structured_input_signature[1]
        return next((name for name, spec in specs.items() if len(specs) == 1 and spec.dtype == tf.string), None)


def _functions_of_dicts(loaded: Any) -> Iterator[tuple[str, _Function]]:
    for name in sorted(vars(loaded)):
        function = getattr(loaded, name)
        for traced in getattr(function, "concrete_functions", None) or []:
            arguments, keywords = traced.structured_input_signature
            if len(arguments) == 1 and isinstance(arguments[0], Mapping) and not keywords:
                specs = dict(arguments[0])
                if specs and all(isinstance(spec, tf.TypeSpec) for spec in specs.values()):
                    yield name, _Function(name, function, specs)
                    break


class _Function:
    """A function of one dict, called as signatures are."""

    def __init__(self, name: str, function: Any, specs: dict[str, Any]) -> None:
        self._name, self._function, self._specs = name, function, specs

    @property
    def structured_input_signature(self) -> tuple[tuple[()], dict[str, Any]]:
        return (), self._specs

    def __call__(self, *records: Any, **features: Any) -> Any:
        if records:  # which TFMA falls back to
            raise SchemaMismatchError(
                describe(
                    f"The model's {self._name!r} takes features that the Examples do not have",
                    expected=sorted(self._specs),
                    found="others, or some of them",
                    remedy="Evaluate the model on the Examples that it was made for.",
                )
            )
        return self._called({name: _adapted(name, features[name], spec) for name, spec in self._specs.items()})

    def _called(self, features: dict[str, Any]) -> Any:
        return self._function(features)


def _adapted(name: str, tensor: Any, spec: Any) -> Any:
    if isinstance(tensor, tf.SparseTensor):
        if isinstance(spec, tf.SparseTensorSpec):
            return tensor
        tensor = tf.RaggedTensor.from_sparse(tensor)
    return as_spec(name, tensor, None, spec)


class _Padded(_Function):
    """A signature some of whose inputs are padded, with lengths beside them: of these it takes ragged tensors."""

    def __init__(self, name: str, signature: Any, specs: dict[str, Any], padded: set[str]) -> None:
        lengths = {length_name(feature) for feature in padded}
        ragged = {feature: tf.RaggedTensorSpec([None, None], specs[feature].dtype) for feature in padded}
        super().__init__(name, signature, {**specs, **ragged})
        for feature in lengths:
            del self._specs[feature]
        self._padded = padded

    def _called(self, features: dict[str, Any]) -> Any:
        for name in self._padded:
            features[length_name(name)] = features[name].row_lengths()
            features[name] = features[name].to_tensor()
        return self._function(**features)


def _complete(
    extracts: dict[str, Any], strings: list[str], nested: tensor_adapter.TensorAdapterConfig | None
) -> dict[str, Any]:
    batch, features = extracts[tfma.ARROW_RECORD_BATCH_KEY], extracts.get(tfma.FEATURES_KEY, {})
    if nested is not None:
        columns = batch.select(nested.arrow_schema.names)
        tensors = tensor_adapter.TensorAdapter(nested).ToBatchTensors(columns, produce_eager_tensors=True)
        features = {**features, **{name: _as_value(tensor) for name, tensor in tensors.items()}}
    if tfma.ARROW_INPUT_COLUMN not in batch.schema.names:
        as_examples = any(name not in batch.schema.names for name in strings)
        records = _examples(batch) if as_examples else [b""] * batch.num_rows
        column = pa.array([[record] for record in records], pa.large_list(pa.large_binary()))
        names = [*batch.schema.names, tfma.ARROW_INPUT_COLUMN]
        batch = pa.RecordBatch.from_arrays([*batch.columns, column], names=names)
    return {**extracts, tfma.ARROW_RECORD_BATCH_KEY: batch, tfma.FEATURES_KEY: features}


def _as_value(tensor: Any) -> Any:
    if isinstance(tensor, tf.SparseTensor):
        return types.SparseTensorValue(*(part.numpy() for part in (tensor.values, tensor.indices, tensor.dense_shape)))
    return types.RaggedTensorValue(tensor.flat_values.numpy(), [splits.numpy() for splits in tensor.nested_row_splits])


def _with_lists(extracts: dict[str, Any]) -> dict[str, Any]:
    features = {}
    for name, value in extracts[tfma.FEATURES_KEY].items():
        if not isinstance(value, types.RaggedTensorValue):
            features[name] = value
        elif len(value.nested_row_splits) == 1:
            features[name] = np.split(value.values, value.nested_row_splits[0][1:-1])
    return {**extracts, tfma.FEATURES_KEY: features}


def _examples(batch: pa.RecordBatch) -> list[bytes]:
    nested = [field.name for field in batch.schema if pa.types.is_nested(field.type.value_type)]
    if nested:
        raise OptionError(
            describe(
                "The model's signature takes tf.Examples, which hold no lists of lists",
                expected="one list of values in a row",
                found=f"the features {nested}",
                remedy="Name a function of features instead: ModelSpec(signature_name=…).",
            )
        )
    encoded: list[bytes] = example_coder.RecordBatchToExamples(batch)
    return encoded

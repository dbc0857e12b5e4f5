"""Models that are served with the Transform graph before them, so that they take raw features. TensorFlow alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from tfpetastorm.errors import OptionError
from tfpetastorm.tfx.transform_graph import TransformGraph

#: The input of the signature that takes serialized `tf.Example`s, as TFX's templates name it.
_EXAMPLES = "examples"


def export_with_transform(
    model: Any,
    path: str | os.PathLike[str] | TransformGraph,
    directory: str | os.PathLike[str],
    *,
    features: str | Iterable[str] | None = None,
) -> None:
    """Save a Keras model with a Transform graph before it: it is served raw features, and has those of training.

    The SavedModel holds the graph's vocabularies. Of a label that `preprocessing_fn` transforms too nothing is asked.
    Its signatures, each left out where a feature can't be said so:

    - `serving_default`: raw features by name ("_" for what is in no argument's name), int64, float32 or strings, dense
      ones `[batch, *shape]`; nullable scalars and lists padded to `[batch, n]`, with how many values of each row count
      in `<name>_length`, int64 `[batch]`. Gives the model's outputs, by name, or as `outputs`.
    - `serving_tf_examples`: `examples`, serialized `tf.Example`s `[batch]`. Gives the same.
    - `transform_features`: as `serving_default`, but gives what the model is fed.

    What was loaded also has functions `serve` and `transform_features` of a dict of tensors, ragged ones as they are.

    Args:
        model: a Keras model, on Keras's TensorFlow backend.
        path: a TransformGraph artifact's URI, such as `fn_args.transform_graph_path`; or a `TransformGraph`.
        directory: where to, such as `fn_args.serving_model_dir`.
        features: the transformed features that the model takes as a dict; by default the names of its inputs. One name
            for a model that takes a tensor.

    Raises:
        DatasetNotFoundError: there is no graph. OptionError: it has no such outputs, or `features` is left out for a
        model whose inputs have no names.
    """
    graph = path if isinstance(path, TransformGraph) else TransformGraph(path)
    served = _Served(model, graph, _taken(model) if features is None else features)
    tf.saved_model.save(served, os.fspath(directory), signatures=served.signatures())


class _Served(tf.Module):
    """What is saved: the model, the graph with its vocabularies, and functions of both."""

    def __init__(self, model: Any, graph: TransformGraph, features: str | Iterable[str]) -> None:
        super().__init__()
        self.graph = graph
        # What the model holds, not itself: TensorFlow would trace it for inputs that are never ragged.
        self.model_state = [*model.variables, *_resources(model)]
        self._call: Any = lambda fed: model(fed, training=False)
        self._alone = features if isinstance(features, str) else None
        self._features = [features] if isinstance(features, str) else list(features)
        self._raw = {name: graph.inputs[name] for name in graph.needs(self._features)}
        self.transform_features = tf.function(self._transformed, input_signature=[self._raw], autograph=False)
        self.serve = tf.function(self._predicted, input_signature=[self._raw], autograph=False)

    def signatures(self) -> dict[str, Any]:
        """Those that the raw features can be said in."""
        made = {}
        specs = _padded_specs(self._raw)
        if specs is not None:

            def serving_default(**given: Any) -> dict[str, Any]:
                return self._predicted(_from_padded(given, self._raw))

            def transform_features(**given: Any) -> dict[str, Any]:
                return _flat(self._transformed(_from_padded(given, self._raw)))

            for function in (serving_default, transform_features):
                made[function.__name__] = tf.function(function, autograph=False).get_concrete_function(**specs)
        parsed = _example_spec(self._raw)
        if parsed is not None:

            def serving_tf_examples(examples: Any) -> dict[str, Any]:
                return self._predicted(tf.io.parse_example(examples, parsed))

            spec = tf.TensorSpec([None], tf.string, _EXAMPLES)
            of_examples = tf.function(serving_tf_examples, autograph=False)
            made[serving_tf_examples.__name__] = of_examples.get_concrete_function(spec)
        return made

    def _transformed(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        return self.graph(raw, self._features)

    def _predicted(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        fed = self._transformed(raw)
        made = self._call(fed if self._alone is None else fed[self._alone])
        if isinstance(made, Mapping):
            return dict(made)
        parts = list(made) if isinstance(made, list | tuple) else [made]
        return {"outputs" if len(parts) == 1 else f"output_{number}": part for number, part in enumerate(parts)}


def _taken(model: Any) -> list[str]:
    """The names by which a model takes its features."""
    given = getattr(model, "input", None)
    if not isinstance(given, Mapping):
        raise OptionError(
            f"features= should name the transformed features that {model.name!r} takes: it does not take them by name."
        )
    return list(given)


def _resources(model: Any) -> list[Any]:
    """The tables and the like of a model's layers."""
    resource = tf.saved_model.experimental.TrackableResource
    return [found for found in tf.train.TrackableView(model).descendants() if isinstance(found, resource)]


def _padded_specs(raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """How raw features are said in dense tensors; None if one can't be."""
    specs: list[tuple[str, Any, Any]] = []
    for name, spec in raw.items():
        if isinstance(spec, tf.TensorSpec):
            specs.append((argument_name(name), spec.shape, spec.dtype))
        elif _is_list(spec):
            specs.append((argument_name(name), [None, None], spec.dtype))
            specs.append((argument_name(length_name(name)), [None], tf.int64))
        else:
            return None
    made = {name: tf.TensorSpec(shape, dtype, name) for name, shape, dtype in specs}
    # A signature's own argument is called self.
    return made if len(made) == len(specs) and "self" not in made else None


def argument_name(name: str) -> str:
    """What TensorFlow calls the argument of a signature that a feature is: with "_" for what is in no such name."""
    made = "".join(char if char.isalnum() else "_" for char in name)
    return made if made[:1].isalpha() else f"arg_{made}"


def _from_padded(given: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    made = {}
    for name, spec in raw.items():
        made[name] = given[argument_name(name)]
        if not isinstance(spec, tf.TensorSpec):
            ragged = tf.RaggedTensor.from_tensor(made[name], given[argument_name(length_name(name))])
            made[name] = ragged.to_sparse() if isinstance(spec, tf.SparseTensorSpec) else ragged
    return made


def _example_spec(raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """How raw features are parsed from `tf.Example`s; None if one can't be, having lists of lists."""
    parsed: dict[str, Any] = {}
    for name, spec in raw.items():
        if isinstance(spec, tf.TensorSpec) and None not in spec.shape.as_list()[1:]:
            parsed[name] = tf.io.FixedLenFeature(spec.shape[1:], spec.dtype)
        elif not _is_list(spec):
            return None
        elif isinstance(spec, tf.SparseTensorSpec):
            parsed[name] = tf.io.VarLenFeature(spec.dtype)
        else:
            parsed[name] = tf.io.RaggedFeature(spec.dtype, row_splits_dtype=spec.row_splits_dtype)
    return parsed


def _is_list(spec: Any) -> bool:
    return not isinstance(spec, tf.TensorSpec) and spec.shape.rank == 2


def length_name(name: str) -> str:
    """What a signature calls how many values of a padded feature count."""
    return f"{name}_length"


def _flat(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Dense tensors, as a signature gives them: ragged ones padded, beside their lengths where they are lists."""
    made = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, tf.RaggedTensor):
            made[length_name(name)] = tensor.row_lengths()
            made[name] = tensor.to_tensor()
        elif isinstance(tensor, tf.SparseTensor):
            made[name] = tf.sparse.to_dense(tensor)
        else:
            made[name] = tensor
    return made

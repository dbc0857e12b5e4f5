"""The graph that TFX's Transform exports, over datasets and in models that are served: TensorFlow alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from tfpetastorm.errors import DatasetNotFoundError, OptionError, Place, SchemaMismatchError, describe
from tfpetastorm.read.nulls import valid_name
from tfpetastorm.tfx.traced import made_of, nothing
from tfpetastorm.tfxio.tensors import as_spec

#: Where a Transform artifact keeps its SavedModel.
_FOLDER = "transform_fn"
#: All that it has if it was exported for TensorFlow 1.
_SIGNATURE = "transform_signature"


class TransformGraph(tf.Module):
    """A Transform graph as a function of batches of features: what `preprocessing_fn` did, with what was analysed.

    A `tf.Module`, so that an object that keeps one can be saved with its vocabularies. Calls are graph code: usable in
    `tf.data`, in a `tf.function` and eagerly.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Load the graph of a TransformGraph artifact, such as `fn_args.transform_graph_path`; or its `transform_fn`.

        Raises DatasetNotFoundError if there is none, OptionError for one that was exported for TensorFlow 1, and for
        another SavedModel.
        """
        super().__init__()
        self._path = os.fspath(path)
        folders = [f"{self._path}/{_FOLDER}", self._path]
        folder = next((folder for folder in folders if tf.saved_model.contains_saved_model(folder)), None)
        if folder is None:
            raise DatasetNotFoundError(
                describe(
                    "There is no Transform graph",
                    Place(file=self._path),
                    expected=f"a folder {_FOLDER} with a SavedModel",
                    found="none",
                    remedy="Give the URI of Transform's output transform_graph.",
                )
            )
        # Its tables live as long as it does.
        self._loaded = tf.saved_model.load(folder)
        function = getattr(self._loaded, "transform_fn", None)
        if function is None:
            signatures = sorted(getattr(self._loaded, "signatures", {}))
            if signatures != [_SIGNATURE]:
                raise OptionError(
                    describe(
                        "A SavedModel is no Transform graph",
                        Place(file=folder),
                        expected="transform_fn",
                        found=f"a model with the signatures {signatures}",
                        remedy="Give the URI of Transform's output transform_graph.",
                    )
                )
            raise OptionError(
                describe(
                    "The Transform graph can't be called",
                    Place(file=folder),
                    expected="one exported by TensorFlow 2",
                    found="none with transform_fn",
                    remedy="Leave force_tf_compat_v1 out of Transform.",
                )
            )
        # Exported are either, depending on the version of TensorFlow Transform.
        self._function = function.concrete_functions[0] if hasattr(function, "concrete_functions") else function
        self._needs = made_of(self._function)

    @property
    def inputs(self) -> dict[str, Any]:
        """The `tf.TypeSpec` of each feature of the schema that was transformed, whether the graph uses it or not."""
        return dict(sorted(self._function.structured_input_signature[0][0].items()))

    @property
    def outputs(self) -> dict[str, Any]:
        """The `tf.TypeSpec` of each transformed feature."""
        return dict(sorted(self._function.structured_outputs.items()))

    def needs(self, outputs: Iterable[str] | None = None) -> list[str]:
        """The names of the features that some transformed ones are made of, in order; by default of all.

        Raises OptionError for a name that is no output.
        """
        used: set[str] = set().union(*(self._needs[name] for name in self._chosen(outputs)))
        return [name for name in self.inputs if name in used]

    def __call__(self, features: Mapping[str, Any], outputs: Iterable[str] | None = None) -> dict[str, Any]:
        """Transform a batch.

        features: tensors by name, `[batch, *shape]`: such as `make_dataset` gives, with the dtypes of a Unischema and
            masks `<name>_valid`, or such as UnischemaTFXIO gives. They become what the graph was made for: int64,
            float32 or strings, dense, ragged or sparse. Those that the graph doesn't know are passed over.
        outputs: the names of the transformed features that are wanted, all by default. Only what these are made of
            has to be among `features`; all of the graph may run nevertheless, others without values: zeros, empty
            strings, no items.

        Returns the transformed features by name. Raises SchemaMismatchError for a feature that is missing or can't
        become what the graph takes, OptionError for a name that is no output.
        """
        chosen = self._chosen(outputs)
        given = {name: _tensor(features[name]) for name in self.inputs if name in features}
        needed = self.needs(chosen)
        missing = [name for name in needed if name not in given]
        if missing:
            name = missing[0]
            made = [output for output in chosen if name in self._needs[output]]
            raise SchemaMismatchError(
                describe(
                    f"The Transform graph's outputs {made} are made of a feature that is missing",
                    Place(file=self._path, field=name),
                    expected=f"the features {needed}",
                    found=sorted(map(str, features)),
                    remedy="Read it too; if it is the label, name it by label=; or leave these out by outputs=.",
                )
            )
        fed = {name: self._adapted(name, given[name], features) for name in needed}
        batch = _batch_of(next(iter(fed.values()))) if fed else _batch_of_any(given, self._path)
        for name, spec in self.inputs.items():
            if name not in fed:
                fed[name] = nothing(spec, batch)
        transformed = self._function({name: fed[name] for name in self.inputs})
        return {name: transformed[name] for name in chosen}

    def _chosen(self, outputs: Iterable[str] | None) -> list[str]:
        if outputs is None:
            return list(self.outputs)
        chosen = [outputs] if isinstance(outputs, str) else list(outputs)
        unknown = [name for name in chosen if name not in self.outputs]
        if unknown:
            raise OptionError(f"outputs names {unknown}; the Transform graph has the outputs {list(self.outputs)}.")
        return chosen

    def _adapted(self, name: str, tensor: Any, features: Mapping[str, Any]) -> Any:
        spec = self.inputs[name]
        place = Place(file=self._path, field=name)
        what, remedy = _unfit(tensor, spec)
        if what:
            found = "single rows" if tensor.shape.rank == 0 else f"{tensor.dtype.name} of shape {tensor.shape}"
            raise SchemaMismatchError(describe(what, place, expected=spec, found=found, remedy=remedy))
        valid = None if valid_name(name) in self.inputs else features.get(valid_name(name))
        if valid is None and spec.is_compatible_with(tensor):
            return tensor
        return as_spec(name, tensor, valid, spec)


def _unfit(tensor: Any, spec: Any) -> tuple[str, str]:
    """Why a tensor is no batch of what a graph takes, and what to do; empty if it may be one."""
    shape = tensor.shape
    if shape.rank is None:
        return "A Transform graph takes tensors of known rank", "Tell it by tf.ensure_shape."
    if shape.rank == 0:
        return "A Transform graph takes batches", "Give make_dataset a batch_size, or batch the dataset before."
    if spec.dtype == tf.string and tensor.dtype.is_integer and shape.rank > 2:
        remedy = "with_data_accessor and UnischemaTFXIO read them so; or leave out by outputs= what is made of them."
        return "TFX graphs take images in their encoding", remedy
    if isinstance(tensor, tf.Tensor) and not isinstance(spec, tf.TensorSpec) and None in shape.as_list()[1:]:
        # A row's own values can't be told from those that it was filled up with.
        return "A Transform graph takes lists as long as they are", "Read the field ragged, without padding."
    return "", ""


def apply_transform_graph(
    dataset: Any,
    path: str | os.PathLike[str] | TransformGraph,
    *,
    label: str | None = None,
    outputs: Iterable[str] | None = None,
) -> Any:
    """Features as TFX's Transform makes them, by the graph that it exported. Neither TFX nor TFT is needed.

    Args:
        dataset: a `tf.data.Dataset` of batches: dicts of tensors, as `make_dataset` gives them (masks `<name>_valid` of
            nulls="mask" included), or `(features, label)`, or `(features, label, weight)`. Of pairs the label is one
            tensor, or a dict of several, which count as features by their names.
        path: a TransformGraph artifact's URI, such as `fn_args.transform_graph_path`; or a `TransformGraph`.
        label: of dicts, the transformed feature, or else the feature, that becomes the label: elements are then
            `(features, label)`. Of pairs, the name of their label tensor as the graph knows it: it is transformed
            too, and stays the label. Without a name, a label passes as it is.
        outputs: the transformed features that are wanted, beside the label; all by default. What they are not made of
            need not be there.

    Returns:
        A dataset with as many elements, of dicts of transformed features, or `(features, label)` and so on.

    Raises:
        DatasetNotFoundError: there is no graph. SchemaMismatchError: a feature that the outputs are made of is missing,
        or can't become what the graph takes (a decoded image where it takes the encoded one). OptionError: names that
        are not there; elements without names.
    """
    graph = path if isinstance(path, TransformGraph) else TransformGraph(path)
    chosen = None if outputs is None else [outputs] if isinstance(outputs, str) else list(outputs)
    if chosen == []:
        raise OptionError("outputs names nothing, so that elements would be empty.")

    def transformed(*element: Any) -> Any:
        features, *rest = element
        if not isinstance(features, Mapping) or not all(isinstance(name, str) for name in features):
            raise OptionError(
                f"A Transform graph takes features by name: elements of the dataset should be dicts, not {features!r}."
            )
        if not rest:
            return _from_dict(graph, features, label, chosen)
        return (*_from_pair(graph, features, rest[0], label, chosen), *rest[1:])

    # Whoever holds the dataset holds the function, and by it the graph with its tables.
    # As it is, not converted, so that errors are ours.
    function = tf.autograph.experimental.do_not_convert(transformed)
    return dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE)


def _from_dict(graph: TransformGraph, features: Mapping[str, Any], label: str | None, outputs: list[str] | None) -> Any:
    if label is None:
        return graph(features, outputs)
    is_output = label in graph.outputs
    if not is_output and label not in features:
        raise OptionError(
            f"label={label!r} is neither an output of the Transform graph ({list(graph.outputs)}) nor a feature "
            f"({sorted(features)})."
        )
    wanted = None if outputs is None else [*outputs, *([label] if is_output and label not in outputs else [])]
    made = graph(features, wanted)
    return made, made.pop(label) if is_output else _present(graph, label, features[label], features)


def _from_pair(
    graph: TransformGraph, features: Mapping[str, Any], given: Any, label: str | None, outputs: list[str] | None
) -> tuple[Any, Any]:
    labels = dict(given) if isinstance(given, Mapping) else {} if label is None else {label: given}
    if label is not None and (isinstance(given, Mapping) or label not in graph.inputs):
        raise OptionError(
            f"label={label!r} should name the one label tensor of (features, label) as the Transform graph knows it. "
            f"Its features are {list(graph.inputs)}, and the label is {given!r}."
        )
    wanted = graph.outputs if outputs is None else outputs
    made = graph({**features, **labels}, dict.fromkeys([*wanted, *(name for name in labels if name in graph.outputs)]))
    passed = {
        name: made.pop(name) if name in made else _present(graph, name, tensor, features)
        for name, tensor in labels.items()
    }
    if labels:
        return made, passed if isinstance(given, Mapping) else passed[label]
    # A mask without its feature is that of a label, whose name is not known here.
    ending = valid_name("")
    for name in (mask.removesuffix(ending) for mask in features if mask.endswith(ending)):
        if name not in features:
            given = _present(graph, name, given, features)
    return made, given


def _present(graph: TransformGraph, name: str, label: Any, features: Mapping[str, Any]) -> Any:
    """A label as it is, once no row is known to lack it: its mask gets lost here."""
    valid = None if valid_name(name) in graph.inputs else features.get(valid_name(name))
    if valid is None or valid.dtype != tf.bool:
        return label
    message = f"label {name} is missing in a row: choose rows by where= of make_dataset, or what it becomes by nulls="
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(valid), [message])]):
        return tf.nest.map_structure(tf.identity, label, expand_composites=True)


def _tensor(value: Any) -> Any:
    return value if isinstance(value, tf.RaggedTensor | tf.SparseTensor) else tf.convert_to_tensor(value)


def _batch_of(tensor: Any) -> Any:
    """The number of rows, an int64 scalar."""
    if isinstance(tensor, tf.RaggedTensor):
        return tf.cast(tensor.nrows(), tf.int64)
    shape = tensor.dense_shape if isinstance(tensor, tf.SparseTensor) else tf.shape(tensor, tf.int64)
    return tf.cast(shape[0], tf.int64)


def _batch_of_any(given: Mapping[str, Any], path: str) -> Any:
    if not given:
        raise SchemaMismatchError(
            describe("None of the features that a Transform graph knows is there", Place(file=path))
        )
    return _batch_of(next(iter(given.values())))

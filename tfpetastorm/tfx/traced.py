"""Functions that were traced: of which features their outputs are made, and what to give where one is not needed."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def made_of(function: Any) -> dict[str, set[str]]:
    """Of which features each output of a concrete function is made. Its inputs are the flat features, in order."""
    specs = function.structured_input_signature[0][0]
    feeds: dict[str, str] = {}
    tensors = iter(function.inputs)
    for name in sorted(specs):  # as tf.nest flattens a dict
        for _ in tf.nest.flatten(specs[name], expand_composites=True):
            feeds[next(tensors).op.name] = name
    made = iter(function.outputs)
    outputs = function.structured_outputs
    return {
        name: _sources([next(made) for _ in tf.nest.flatten(outputs[name], expand_composites=True)], feeds)
        for name in sorted(outputs)
    }


def _sources(tensors: list[Any], feeds: dict[str, str]) -> set[str]:
    """The features whose placeholders tensors depend on by data; assertions, which only control, do not count."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [tensor.op for tensor in tensors]
    while waiting:
        operation = waiting.pop()
        if operation.name in seen:
            continue
        seen.add(operation.name)
        if operation.name in feeds:
            found.add(feeds[operation.name])
        waiting += [tensor.op for tensor in operation.inputs]
    return found


def nothing(spec: Any, batch: Any) -> Any:
    """A batch without values, for a feature that what is wanted is not made of."""
    if isinstance(spec, tf.RaggedTensorSpec):
        splits = [tf.zeros([batch + 1], tf.int64), *[tf.zeros([1], tf.int64)] * (spec.ragged_rank - 1)]
        inner = [size or 0 for size in spec.shape.as_list()[spec.ragged_rank + 1 :]]
        values = tf.zeros([0, *inner], spec.dtype)
        return tf.RaggedTensor.from_nested_row_splits(
            values, [tf.cast(split, spec.row_splits_dtype) for split in splits], validate=False
        )
    sizes = [batch, *(tf.constant(size or 0, tf.int64) for size in spec.shape.as_list()[1:])]
    if isinstance(spec, tf.SparseTensorSpec):
        return tf.SparseTensor(tf.zeros([0, len(sizes)], tf.int64), tf.zeros([0], spec.dtype), tf.stack(sizes))
    return tf.zeros(tf.stack(sizes), spec.dtype)

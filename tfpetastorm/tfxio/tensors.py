"""Tensors of make_dataset in the form that a TFX graph asks for: its dtype, dense, ragged or sparse. TensorFlow alone.

A tensor is taken apart into its values in one flat list and the row splits of each of its dimensions; a scalar is a
list of one. Rows that are missing have no values. From these any form is put together.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfpetastorm.errors import Place, SchemaMismatchError, describe


def as_spec(name: str, tensor: Any, valid: Any, spec: Any, default: Any = None) -> Any:
    """A batch of one field as the `tf.TypeSpec` that a consumer asks for, in the graph or eagerly.

    name: for messages. tensor: `[batch, *shape]`, a tf.RaggedTensor where a size is open, in any dtype: as
    `make_dataset` gives it. valid: bool `[batch]`, False where the row is missing, None where none is. default: what
    a dense tensor has in all places of a missing row.
    spec: a `tf.TensorSpec` (fixed sizes take the values of a row in order, however they are nested), a
    `tf.RaggedTensorSpec` (of rank 2 a row's values in one list; else one level a dimension; inner sizes are cut out of
    the last), or a `tf.SparseTensorSpec` likewise. Numbers become the spec's dtype: bools and integers any that holds
    them all, floats any float.

    Raises SchemaMismatchError naming the field where no value of it can be what is asked. What only the values show
    (a missing row, another number of values, an integer beyond the dtype) is a tf.errors.InvalidArgumentError.
    """
    if isinstance(spec, tf.TensorSpec):
        return _dense(name, tensor, valid, spec, default)
    if isinstance(spec, tf.RaggedTensorSpec):
        dtype, rank = spec.dtype, spec.ragged_rank
        inner = [] if spec.shape.rank is None else spec.shape.as_list()[rank + 1 :]
        values, splits = _nested(name, _cast(name, tensor, dtype, spec), valid, rank, inner, spec)
        splits = [tf.cast(split, spec.row_splits_dtype) for split in splits]
        return tf.RaggedTensor.from_nested_row_splits(values, splits, validate=False)
    if isinstance(spec, tf.SparseTensorSpec):
        rank = spec.shape.rank - 1
        values, splits = _nested(name, _cast(name, tensor, spec.dtype, spec), valid, rank, [], spec)
        sparse = tf.RaggedTensor.from_nested_row_splits(values, splits, validate=False).to_sparse()
        return tf.SparseTensor(sparse.indices, sparse.values, tf.ensure_shape(sparse.dense_shape, [rank + 1]))
    raise _mismatch(name, spec, tensor, "Only dense, ragged and sparse tensors can be made.")


def _dense(name: str, tensor: Any, valid: Any, spec: Any, default: Any) -> Any:
    tensor = _cast(name, tensor, spec.dtype, spec)
    if spec.shape.rank is None:
        return tensor
    sizes = spec.shape.as_list()[1:]
    if valid is not None and default is None:
        tensor = _required(name, tensor, valid, "a dense tensor has a value in every row")
    if None in sizes:
        if isinstance(tensor, tf.RaggedTensor) or not spec.shape[1:].is_compatible_with(tensor.shape[1:]):
            raise _mismatch(name, spec, tensor, "Pad it (ragged= of make_dataset), or ask for a ragged tensor.")
        return tensor
    per_row = math.prod(sizes)
    if isinstance(tensor, tf.RaggedTensor):
        values, splits = _taken_apart(tensor)
        split = _joined(splits)
        lengths = split[1:] - split[:-1]
        right = lengths == per_row if valid is None or default is None else (lengths == per_row) | ~valid
        message = f"feature {name}: a dense tensor of shape {sizes} takes {per_row} values of each row, and one has"
        wrong = tf.boolean_mask(lengths, ~right)
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(right), [message, wrong[:1]], 1)]):
            if valid is not None and default is not None:
                values, split = _without(values, [split], valid)
                filled = tf.fill([tf.shape(valid)[0], per_row], tf.cast(default, spec.dtype))
                rows = tf.where(valid)
                values = tf.tensor_scatter_nd_update(filled, rows, tf.reshape(values, [-1, per_row]))
                return tf.reshape(values, [-1, *sizes])
            return tf.reshape(tf.identity(values), [-1, *sizes])
    known = tensor.shape[1:]
    if known.is_fully_defined() and known.num_elements() != per_row:
        raise _mismatch(name, spec, tensor, "Correct the shape in the schema that is asked for.")
    if tensor.shape[1:].as_list() != sizes:
        tensor = tf.reshape(tensor, [tf.shape(tensor)[0], *sizes])
    if valid is not None and default is not None:
        mask = tf.reshape(valid, [-1, *[1] * len(sizes)])
        tensor = tf.where(mask, tensor, tf.cast(default, spec.dtype))
    return tensor


def _required(name: str, tensor: Any, valid: Any, why: str) -> Any:
    message = f"feature {name} is missing in a row, and {why}; the row's number in the batch:"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(valid), [message, tf.where(~valid)[:1, 0]])]):
        return tf.identity(tensor)


def _nested(name: str, tensor: Any, valid: Any, rank: int, inner: list[int | None], spec: Any) -> tuple[Any, list[Any]]:
    """Values `[items, *inner]` and `rank` row splits. Missing rows have no items."""
    if valid is not None and tensor.shape.rank == 1 and rank == 1:
        # By far the most common, in few operations: of a thousand columns they are a graph that takes long to make.
        values = tf.gather(tensor, tf.squeeze(tf.where(valid), 1))
        splits = [tf.pad(tf.cumsum(tf.cast(valid, tf.int64)), [[1, 0]])]
    else:
        values, splits = _taken_apart(tensor)
        if rank < 1 or rank > len(splits):
            raise _mismatch(name, spec, tensor, "Correct the nesting in the schema that is asked for.")
        if valid is not None:
            values, splits = _without(values, splits, valid)
    splits = [*splits[: rank - 1], _joined(splits[rank - 1 :])]
    if not inner:
        return values, splits
    if None in inner:
        raise _mismatch(name, spec, tensor, "Correct the shape in the schema that is asked for.")
    width = math.prod(size for size in inner if size is not None)
    message = f"feature {name}: its lists do not divide into parts of shape {inner}"
    whole = tf.debugging.Assert(tf.reduce_all(splits[-1] % width == 0), [message])
    with tf.control_dependencies([whole]):
        splits[-1] = splits[-1] // width
        return tf.reshape(values, [-1, *inner]), splits


def _taken_apart(tensor: Any) -> tuple[Any, list[Any]]:
    """Values in one list, and int64 row splits for each dimension; of a scalar one, of lists of one value."""
    splits: list[Any] = []
    if isinstance(tensor, tf.RaggedTensor):
        splits = [tf.cast(split, tf.int64) for split in tensor.nested_row_splits]
        tensor = tensor.flat_values
        sizes = tf.shape(tensor, tf.int64)[1:]
    else:
        sizes = tf.shape(tensor, tf.int64)[1:]
    rows = tf.shape(tensor, tf.int64)[0]
    inner = tensor.shape.rank - 1
    if not inner and not splits:
        splits = [tf.range(rows + 1)]
    for axis in range(inner):
        splits.append(tf.range(rows + 1) * sizes[axis])
        rows = rows * sizes[axis]
    return tf.reshape(tensor, [-1]), splits


def _joined(splits: list[Any]) -> Any:
    """The row splits of the outermost dimension in items of the innermost."""
    joined = splits[0]
    for split in splits[1:]:
        joined = tf.gather(split, joined)
    return joined


def _without(values: Any, splits: list[Any], valid: Any) -> tuple[Any, list[Any]]:
    """Both with no items in rows that are not valid, whatever they hold."""
    ragged = tf.RaggedTensor.from_nested_row_splits(values, splits, validate=False)
    kept = tf.ragged.boolean_mask(ragged, valid)
    lengths = tf.where(valid, splits[0][1:] - splits[0][:-1], 0)
    outer = tf.concat([tf.zeros([1], tf.int64), tf.cumsum(lengths)], 0)
    return kept.flat_values, [outer, *kept.nested_row_splits[1:]]


def _cast(name: str, tensor: Any, dtype: Any, spec: Any) -> Any:
    found = tensor.dtype
    if found == dtype:
        return tensor
    integral = found.is_integer or found == tf.bool
    if dtype.is_floating and found.is_floating:
        return tf.cast(tensor, dtype)
    if not (dtype.is_integer and integral):
        image = found.is_integer and dtype == tf.string and tensor.shape.rank is not None and tensor.shape.rank > 2
        remedy = (
            "TFX graphs take images in their encoding: read the field without its codec."
            if image
            else "Correct the type in the schema that is asked for, or change the field before."
        )
        raise _mismatch(name, spec, tensor, remedy)
    if found == tf.bool:
        return tf.cast(tensor, dtype)
    values = tensor.flat_values if isinstance(tensor, tf.RaggedTensor) else tensor
    wrong = [values > tf.cast(dtype.max, found)] if found.max > dtype.max else []
    wrong += [values < tf.cast(dtype.min, found)] if found.min < dtype.min else []
    message = f"feature {name} has an integer that {dtype.name} does not hold"
    with tf.control_dependencies([none_of(tensor, one, message) for one in wrong]):
        return tf.cast(tensor, dtype)


def none_of(tensor: Any, wrong: Any, message: str) -> Any:
    """An assertion that no value is wrong, which tells the first one and its row. wrong: bool, as the (flat) values."""
    at = tf.where(wrong)[:1]
    row, values = at[:, 0], tensor
    if isinstance(tensor, tf.RaggedTensor):
        values = tensor.flat_values
        for rows in reversed(tensor.nested_value_rowids()):
            row = tf.gather(rows, row)
    found = [f"{message}; the row's number in the batch:", row, "the value:", tf.gather_nd(values, at)]
    return tf.debugging.Assert(~tf.reduce_any(wrong), found)


def _mismatch(name: str, spec: Any, tensor: Any, remedy: str) -> SchemaMismatchError:
    kind = "ragged " if isinstance(tensor, tf.RaggedTensor) else ""
    found = f"a {kind}tensor of {tensor.dtype.name} with shape {tensor.shape}"
    return SchemaMismatchError(
        describe("A field can't be what is asked for", Place(field=name), expected=spec, found=found, remedy=remedy)
    )

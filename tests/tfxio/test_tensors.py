"""`as_spec`: a field of make_dataset as any form of tensor, in the graph and eagerly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfpetastorm.errors import SchemaMismatchError
from tfpetastorm.tfxio.tensors import as_spec

RAGGED = tf.ragged.constant([[1, 2], [], [3]], tf.int16)
VALID = tf.constant([True, False, True])


@pytest.fixture(params=["eager", "graph"])
def made(request: pytest.FixtureRequest) -> Any:
    def call(tensor: Any, valid: Any, spec: Any, default: Any = None) -> Any:
        if request.param == "eager":
            return as_spec("x", tensor, valid, spec, default)
        return tf.function(lambda t, v: as_spec("x", t, v, spec, default))(tensor, valid)

    return call


@pytest.mark.parametrize(
    ("tensor", "spec", "expected"),
    [
        (tf.constant([1, 0, 3], tf.uint8), tf.RaggedTensorSpec([None, None], tf.int64), [[1], [], [3]]),
        (tf.constant([1, 0, 3], tf.uint8), tf.RaggedTensorSpec([None, None], tf.int64, 1, tf.int32), [[1], [], [3]]),
        (RAGGED, tf.RaggedTensorSpec([None, None], tf.int64), [[1, 2], [], [3]]),
        (tf.constant([[1, 2], [9, 9], [5, 6]]), tf.RaggedTensorSpec([None, None], tf.int32), [[1, 2], [], [5, 6]]),
        (
            tf.reshape(tf.range(12), [3, 2, 2]),
            tf.RaggedTensorSpec([None, None, None], tf.int64),
            [[[0, 1], [2, 3]], [], [[8, 9], [10, 11]]],
        ),
        (
            tf.reshape(tf.range(12), [3, 2, 2]),
            tf.RaggedTensorSpec([None, None, 2], tf.int64, 1),
            [[[0, 1], [2, 3]], [], [[8, 9], [10, 11]]],
        ),
        (
            tf.reshape(tf.range(12), [3, 4]),
            tf.RaggedTensorSpec([None, None, 2], tf.int64, 1),
            [[[0, 1], [2, 3]], [], [[8, 9], [10, 11]]],
        ),
    ],
)
def test_missing_rows_have_no_values(made: Any, tensor: Any, spec: Any, expected: Any) -> None:
    found = made(tensor, VALID, spec)
    assert found.to_list() == expected
    assert spec.is_compatible_with(found)


def test_dense(made: Any) -> None:
    spec = tf.TensorSpec([None, 2], tf.float32)
    ragged = tf.ragged.constant([[1.0, 2.0], [], [3.0, 4.0]], tf.float64)
    assert made(ragged, VALID, spec, 7.0).numpy().tolist() == [[1, 2], [7, 7], [3, 4]]
    assert made(tf.ones([3, 2], tf.float16), VALID, spec, 7.0).numpy().tolist() == [[1, 1], [7, 7], [1, 1]]
    assert made(tf.ones([3, 1, 2], tf.float16), None, spec).shape == (3, 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"feature x is missing in a row.*batch"):
        made(tf.ones([3, 2]), VALID, spec)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"feature x: a dense tensor of shape .* takes 2 values"):
        made(ragged, None, spec)


def test_sparse(made: Any) -> None:
    found = made(
        tf.constant([[b"a", b"b"], [b"", b""], [b"c", b"d"]]), VALID, tf.SparseTensorSpec([None, None], tf.string)
    )
    assert found.indices.numpy().tolist() == [[0, 0], [0, 1], [2, 0], [2, 1]]
    assert found.dense_shape.numpy().tolist() == [3, 2]
    assert found.values.numpy().tolist() == [b"a", b"b", b"c", b"d"]


def test_integers_beyond_the_dtype_are_errors(made: Any) -> None:
    spec = tf.TensorSpec([None], tf.int64)
    assert made(tf.constant([2**63 - 1], tf.uint64), None, spec).numpy().tolist() == [2**63 - 1]
    with pytest.raises(tf.errors.InvalidArgumentError, match="feature x has an integer that int64 does not hold"):
        made(tf.constant([0, 2**63], tf.uint64), None, spec)
    with pytest.raises(tf.errors.InvalidArgumentError, match="feature x has an integer that int8 does not hold"):
        made(tf.constant([-129], tf.int32), None, tf.TensorSpec([None], tf.int8))
    assert made(tf.constant([True, False]), None, spec).numpy().tolist() == [1, 0]


@pytest.mark.parametrize(
    ("tensor", "spec", "says"),
    [
        (tf.zeros([2, 4, 4, 3], tf.uint8), tf.TensorSpec([None], tf.string), "images in their encoding"),
        (tf.zeros([2]), tf.TensorSpec([None], tf.int64), "found a tensor of float32"),
        (tf.zeros([2], tf.int64), tf.TensorSpec([None], tf.float32), "Correct the type"),
        (tf.zeros([2, 3]), tf.TensorSpec([None, 4], tf.float32), "Correct the shape"),
        (tf.zeros([2, 3]), tf.RaggedTensorSpec([None, None, None], tf.float32), "Correct the nesting"),
        (tf.ragged.constant([[1.0]]), tf.TensorSpec([None, None], tf.float32), "found a ragged tensor.*Pad it"),
    ],
)
def test_what_cannot_be_is_said_before_any_value(tensor: Any, spec: Any, says: str) -> None:
    with pytest.raises(SchemaMismatchError, match=f"field 'x'.*{says}"):
        as_spec("x", tensor, None, spec)


def test_no_rows(made: Any) -> None:
    none = tf.zeros([0], tf.bool)
    empty = tf.RaggedTensor.from_row_splits(tf.zeros([0]), np.array([0]))
    for tensor in (tf.zeros([0]), empty):
        assert made(tensor, none, tf.RaggedTensorSpec([None, None], tf.float32)).to_list() == []
        assert made(tensor, none, tf.SparseTensorSpec([None, None], tf.float32)).dense_shape.numpy()[0] == 0
        assert made(tensor, none, tf.TensorSpec([None, 1], tf.float32)).shape == (0, 1)

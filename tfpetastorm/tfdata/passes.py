"""Which pass over the dataset an iterator is, in a way that a checkpoint remembers.

A pass gets its token from a random dataset in the graph: the k-th iterator over it yields the k-th token of a sequence
that depends on two constants alone, not on TensorFlow's global seed, and TensorFlow saves how far the sequence has come
with the iterator. Python knows the same sequence and so maps a token to k, also in a new process, also when the
checkpoint was taken just between two passes.
"""

from __future__ import annotations

import threading
from typing import Any

import tensorflow as tf

from tfpetastorm.errors import PoolError

_SEED = (0x7F4A7C15, 0x9E3779B9)
_FIRST = 64
_MOST = 1 << 20


def pass_tokens() -> Any:
    """A dataset of one int64, another one for each iterator."""
    # `tf.data.Dataset.random` would mix in the global seed: then what comes out would depend on it.
    variant = tf.raw_ops.RandomDatasetV2(
        seed=tf.constant(_SEED[0], tf.int64),
        seed2=tf.constant(_SEED[1], tf.int64),
        seed_generator=tf.raw_ops.DummySeedGenerator(),
        rerandomize_each_iteration=True,
        output_types=[tf.int64],
        output_shapes=[[]],
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.int64)).take(1)


class PassNumbers:
    """Maps tokens to the numbers of their passes, from 0."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, int] = {}
        self._extend(_FIRST)

    def number(self, token: int) -> int:
        """The number of the pass with this token."""
        with self._lock:
            while token not in self._known:
                if len(self._known) >= _MOST:
                    raise PoolError(f"An iterator came with token {token}, which belongs to no pass.")
                self._extend(4 * len(self._known))
            return self._known[token]

    def _extend(self, count: int) -> None:
        # Eager even where a dataset is made inside a tf.function: the sequence is the same everywhere.
        with tf.init_scope(), tf.device("CPU:0"):
            tokens = next(iter(pass_tokens().repeat(count).batch(count))).numpy()
        self._known = {int(token): i for i, token in reversed(list(enumerate(tokens)))}

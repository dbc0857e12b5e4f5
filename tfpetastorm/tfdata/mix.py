"""`mix`: several datasets as one, chosen from by weight, element by element, all in the graph."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfpetastorm.errors import OptionError, describe
from tfpetastorm.feed.elements import SourceStats
from tfpetastorm.plan.choice import DRAW_BITS, length_until_empty, whole_weights
from tfpetastorm.plan.hashing import key64
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.pool.lookahead import PoolStats
from tfpetastorm.read.result import Counts
from tfpetastorm.schema.columns import Array
from tfpetastorm.tfdata.handle import Handle, attach, find_handle
from tfpetastorm.tfdata.passes import pass_tokens
from tfpetastorm.tfdata.source import unconverted

#: Choices computed at a time: one by one they would cost more than a batch.
_BLOCK = 64
_STOPS = ("first", "last", "never")
_ENDLESS, _UNKNOWN = int(tf.data.INFINITE_CARDINALITY), int(tf.data.UNKNOWN_CARDINALITY)


@dataclass(frozen=True, eq=False)
class MixHandle:
    """What a mix carries for `steps`, `stats` and `close`.

    handles: those of the sources that are datasets of ours. steps, elements: as of any handle.
    """

    handles: tuple[Handle, ...]
    steps: int | None
    elements: int | None

    @property
    def stats(self) -> SourceStats:
        """The sum over the sources that are datasets of ours; `peak_bytes` is the sum of their peaks."""
        all_stats = [handle.stats for handle in self.handles]
        pools = [stats.pool for stats in all_stats]
        return SourceStats(
            sum((stats.counts for stats in all_stats), Counts()),
            sum(stats.skipped_rows for stats in all_stats),
            PoolStats(
                sum(pool.tasks for pool in pools),
                sum(pool.wait_seconds for pool in pools),
                sum(pool.peak_bytes for pool in pools),
                sum(pool.dropped for pool in pools),
            ),
        )

    def close(self) -> None:
        """Ends the workers of all sources."""
        for handle in self.handles:
            handle.close()


def mix(
    datasets: Iterable[Any], weights: Sequence[float] | None = None, *, seed: int | None = None, stop: str = "first"
) -> Any:
    """Several datasets as one `tf.data.Dataset`: each element is the next one of a dataset drawn by weight.

    Elements are passed on as they are, so mix batches: each batch then comes from one dataset. Each dataset's own
    order is kept. Which dataset comes k-th in a pass is a function of (seed, pass, k), and of the datasets' sizes and
    `stop`; TensorFlow's global seed has no part in it. Each `iter()` is another pass, with other choices. An iterator
    can be saved in a `tf.train.Checkpoint` if those of the datasets can.

    Args:
        datasets: `tf.data.Dataset`s of equal element spec, of `make_dataset` or any others.
        weights: one number a dataset, of any sum; equal by default. A dataset of weight 0 is left out altogether.
        seed: decides the choices; 0 is a seed. None draws one.
        stop: "first" ends a pass when the choice falls on a dataset that has no more elements. All passes then have
            one length where the datasets' sizes are known: a later pass goes through the choices of the first from
            another place on, and round. "last" goes on with the others, by their weights, until all are exhausted.
            "never" repeats each dataset for ever, each time with another pass of it.

    Returns:
        A dataset of the same elements. Cardinality: of "last" the sum, of "never" infinite, of "first" exact up to
        16 million elements; unknown where that of a dataset is.

    Raises:
        OptionError: no datasets, unequal element specs, weights that can't work, an empty dataset under "never".
    """
    sources = list(datasets)
    _check_sources(sources)
    numbers = whole_weights([1] * len(sources) if weights is None else _listed(weights))
    if len(numbers) != len(sources):
        raise OptionError(f"mix has {len(sources)} datasets and {len(numbers)} weights: give one a dataset.")
    if stop not in _STOPS:
        raise OptionError(f'stop is "first", "last" or "never", not {stop!r}.')
    key = key64("mix", secrets.randbits(63) if seed is None else whole_number("seed", seed))
    inputs = [source for source, number in zip(sources, numbers, strict=True) if number]
    weight = numbers[numbers > 0]
    sizes = [_size(source) for source in inputs]
    length = _length(key, weight, sizes, stop)
    if stop == "never":
        if 0 in sizes:
            raise OptionError('stop="never" repeats each dataset for ever, and one of them is empty.')
        mixed = _interleaved([source.repeat() for source in inputs], _choices(key, weight, None))
    elif stop == "first":
        mixed = _interleaved(inputs, _choices(key, weight, length if length >= 0 else None))
    else:
        mixed = _until_all_end(inputs, sizes, _choices_of_those_left(key, weight, sizes))
    # A dataset may hide its size, as one that its plan has sharded does; then so does the mix.
    hidden = any(int(source.cardinality()) == _UNKNOWN for source in inputs)
    if length == _ENDLESS or (length >= 0 and not hidden):
        mixed = mixed.apply(tf.data.experimental.assert_cardinality(length))
    handles = [handle for handle in map(find_handle, sources) if handle is not None]
    elements = length if length >= 0 else None
    # Where a strategy divides elements, one gives several steps, and not all sources may be divided alike.
    divided = any(handle.steps != handle.elements for handle in handles)
    attach(mixed, MixHandle(tuple(handles), None if divided else elements, elements))
    return mixed


def _check_sources(sources: Sequence[Any]) -> None:
    if not sources:
        raise OptionError("mix needs at least one dataset.")
    for i, source in enumerate(sources):
        if not isinstance(source, tf.data.Dataset):
            raise OptionError(f"mix takes tf.data.Datasets; datasets[{i}] is of type {type(source).__name__}.")
    first = sources[0].element_spec
    for i, source in enumerate(sources[1:], 1):
        if not _agree(first, source.element_spec):
            raise OptionError(
                describe(
                    "datasets[0] and " + f"datasets[{i}] have different elements",
                    expected=first,
                    found=source.element_spec,
                    remedy="Give them the same fields, dtypes and shapes; with drop_remainder=True, one batch_size.",
                )
            )


def _agree(one: Any, other: Any) -> bool:
    """Whether elements of both specs can come from one dataset: sizes that one of them leaves open may differ."""
    try:
        tf.nest.assert_same_structure(one, other)
    except (TypeError, ValueError):
        return False
    pairs = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
    return all(type(a) is type(b) and (a.is_compatible_with(b) or b.is_compatible_with(a)) for a, b in pairs)


def _listed(weights: Any) -> list[Any]:
    try:
        return list(weights)
    except TypeError:
        raise OptionError(f"weights are numbers, one a dataset, not {weights!r}.") from None


def _size(source: Any) -> int:
    """Elements of a pass, `_ENDLESS` or `_UNKNOWN`."""
    size = int(source.cardinality())
    handle = find_handle(source)
    if size == _UNKNOWN and handle is not None and handle.elements is not None:
        return int(handle.elements)
    return size


def _length(key: np.uint64, weights: Array, sizes: Sequence[int], stop: str) -> int:
    """Elements of a pass of the mix, `_ENDLESS` or `_UNKNOWN`."""
    if stop == "never" or all(size == _ENDLESS for size in sizes) or (stop == "last" and _ENDLESS in sizes):
        return _ENDLESS
    if _UNKNOWN in sizes:
        return _UNKNOWN
    if stop == "last":
        return sum(sizes)
    length = length_until_empty(key, weights, [None if size == _ENDLESS else size for size in sizes])
    return _UNKNOWN if length is None else length


# ---------------------------------------------------------------- the graph's side


def _choices(key: np.uint64, weights: Array, length: int | None) -> Any:
    """The choices (int64) of one pass. length: how many, where known: those of every pass are then the first `length`
    of the one sequence under `key`, from another place on and round, so that each source is met as often in all."""

    def one_pass(token: Any) -> Any:
        token = tf.bitcast(token, tf.uint64)
        if length is None:
            return _blocks(lambda numbers: _chosen(_draws(key, numbers, token), weights))
        offset = _draws(key, tf.zeros([], tf.int64), token) % max(1, length)
        none = tf.zeros([], tf.uint64)
        return _blocks(lambda k: _chosen(_draws(key, (k + offset) % max(1, length), none), weights)).take(length)

    # No map between the tokens and here: see `pass_tokens`.
    return pass_tokens().flat_map(unconverted(one_pass))


def _choices_of_those_left(key: np.uint64, weights: Array, sizes: Sequence[int]) -> Any:
    """The choices (int64) of one pass of "last". What has no more elements when a block of choices begins has no share
    in it, and choices that fall on one that ends within the block are left out: the others' shares stay as their
    weights are. Ends after the last element where all sizes are known."""
    known = min(sizes) >= 0
    # Where some sizes are not known, each dataset is asked once more than it has elements: see `_until_all_end`.
    more = [size + (0 if known else 1) if size >= 0 else tf.int64.max for size in sizes]

    def one_pass(token: Any) -> Any:
        token = tf.bitcast(token, tf.uint64)

        def block(left: Any, numbers: Any) -> tuple[Any, Any]:
            # TensorFlow may look ahead beyond the end: choices have to be possible even there.
            possible = (left > 0) | ~tf.reduce_any(left > 0)
            chosen = _chosen(_draws(key, numbers, token), tf.where(possible, weights, 0))
            counted = tf.cumsum(tf.one_hot(chosen, len(sizes), dtype=tf.int64))
            given = chosen[tf.gather(counted, chosen, batch_dims=1) <= tf.gather(left, chosen)]
            return tf.maximum(left - counted[-1], 0), given

        chosen = _numbers().scan(tf.constant(more, tf.int64), unconverted(block)).unbatch()
        return chosen.take(sum(sizes)) if known else chosen

    return pass_tokens().flat_map(unconverted(one_pass))


def _interleaved(inputs: Sequence[Any], chosen: Any) -> Any:
    """Ends with the choices, or when one falls on an exhausted dataset."""
    return tf.data.Dataset.choose_from_datasets(inputs, chosen, stop_on_empty_dataset=True)


def _until_all_end(inputs: Sequence[Any], sizes: Sequence[int], chosen: Any) -> Any:
    """The datasets' elements as chosen; choices that fall on exhausted ones are passed over."""
    if min(sizes) >= 0:
        return _interleaved(inputs, chosen)
    # TensorFlow can pass over them by itself, but forgets in a checkpoint how many datasets have ended, and then never
    # comes to an end. So no dataset ends: behind its elements come empty ones, and whoever gave one has ended.

    def endless(number: int, source: Any) -> Any:
        spec = source.element_spec

        def full(*parts: Any) -> Any:
            return number, tf.experimental.Optional.from_value(parts if isinstance(spec, tuple) else parts[0])

        def empty(_: Any) -> Any:
            return number, tf.experimental.Optional.empty(spec)

        nothing = tf.data.Dataset.range(1).map(unconverted(empty)).repeat()
        return source.map(unconverted(full)).concatenate(nothing)

    def note(going: Any, number: Any, element: Any) -> Any:
        going &= element.has_value() | (tf.range(len(inputs)) != number)
        return going, (tf.reduce_any(going), element)

    mixed = _interleaved([endless(i, source) for i, source in enumerate(inputs)], chosen)
    mixed = mixed.scan(tf.ones([len(inputs)], tf.bool), unconverted(lambda going, both: note(going, *both)))
    mixed = mixed.take_while(unconverted(lambda going, _: going))
    mixed = mixed.filter(unconverted(lambda _, element: element.has_value()))
    return mixed.map(unconverted(lambda _, element: element.get_value()))


def _numbers() -> Any:
    """0, 1, 2, …, int64, in blocks `[_BLOCK]`."""
    starts = tf.data.Dataset.range(0, tf.int64.max - _BLOCK, _BLOCK)
    return starts.map(unconverted(lambda start: start + tf.range(_BLOCK, dtype=tf.int64)))


def _blocks(function: Any) -> Any:
    """What `function` makes of `_numbers`, one by one."""
    return _numbers().map(unconverted(function)).unbatch()


def _draws(key: np.uint64, numbers: Any, token: Any) -> Any:
    """As `plan.choice.draws` under `key ^ token`: int64, shaped as `numbers` (int64). token: uint64, 0 for none."""
    hashed = _mix64(_mix64(tf.cast(numbers, tf.uint64)) ^ (tf.constant(key, tf.uint64) ^ token))
    return tf.cast(_shifted(hashed, 64 - DRAW_BITS), tf.int64)


def _chosen(drawn: Any, weights: Any) -> Any:
    """As `plan.choice.choices`: int64 `[k]` from draws `[k]` and whole weights `[n]`."""
    edges = tf.cumsum(tf.convert_to_tensor(weights, tf.int64))
    return tf.searchsorted(edges, _shifted(drawn * edges[-1], DRAW_BITS), side="right", out_type=tf.int64)


def _mix64(x: Any) -> Any:
    """As `plan.hashing.mix64`."""
    x += tf.constant(0x9E3779B97F4A7C15, tf.uint64)
    x = (x ^ _shifted(x, 30)) * tf.constant(0xBF58476D1CE4E5B9, tf.uint64)
    x = (x ^ _shifted(x, 27)) * tf.constant(0x94D049BB133111EB, tf.uint64)
    return x ^ _shifted(x, 31)


def _shifted(x: Any, bits: int) -> Any:
    return tf.bitwise.right_shift(x, tf.constant(bits, x.dtype))

"""What `shard=` means in one process; strategies with several are in tests/distribute/."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import tensorflow as tf

from tfpetastorm.errors import OptionError
from tfpetastorm.tfdata.sharding import ShardChoice, resolve_shard

TWO = {"worker": ["a:1", "b:1"]}


def config(cluster: dict, job: str = "worker", task: int = 0) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": job, "index": task}})


class OneHostTPU(tf.distribute.TPUStrategy):
    """What can be had of a TPUStrategy without a TPU: its type."""

    def __init__(self) -> None:
        tf.distribute.Strategy.__init__(self, tf.distribute.OneDeviceStrategy("/cpu:0").extended)


def test_a_single_process_has_the_only_shard() -> None:
    assert resolve_shard("auto") == ShardChoice(0, 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tf.distribute.MirroredStrategy(["/cpu:0"]),
        lambda: tf.distribute.OneDeviceStrategy("/cpu:0"),
    ],
)
def test_strategies_of_one_process_have_the_only_shard(make) -> None:
    with make().scope():
        assert resolve_shard("auto") == ShardChoice(0, 1)


def test_a_shard_that_is_told_is_taken() -> None:
    assert resolve_shard((2, 7)) == ShardChoice(2, 7)
    assert resolve_shard((np.int64(0), np.int32(1))) == ShardChoice(0, 1)
    # As JSON and command lines give it.
    assert resolve_shard([1, 2]) == ShardChoice(1, 2)


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ((2, 2), r"shard=\(2, 2\): indices count from 0, so the last of 2 is 1"),
        ((-1, 2), "shard's index is a whole number of at least 0"),
        ((0, 0), "shard's count is a whole number of at least 1"),
        ((0, 1.0), "shard's count is a whole number, not 1.0"),
        ((True, 2), "shard's index is a whole number, not True"),
        ((0, 1, 2), r'shard is "auto", \(index, count\) or a tf.distribute.InputContext, not \(0, 1, 2\)'),
        ("all", "not 'all'"),
        (3, "not 3"),
        (None, "not None"),
    ],
)
def test_what_is_no_shard_is_refused(shard, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        resolve_shard(shard)


def test_an_input_context_names_its_pipeline_and_its_replicas() -> None:
    context = tf.distribute.InputContext(num_input_pipelines=3, input_pipeline_id=2, num_replicas_in_sync=12)
    assert resolve_shard(context) == ShardChoice(2, 3, replicas=4)
    with pytest.raises(OptionError, match="5 replicas can't be divided evenly among 3"):
        resolve_shard(tf.distribute.InputContext(3, 0, 5))


def test_a_strategy_gives_its_dataset_function_a_context_that_is_understood() -> None:
    seen = []

    def dataset_of(context):
        seen.append(resolve_shard(context))
        return tf.data.Dataset.range(4).batch(context.get_per_replica_batch_size(2))

    tf.distribute.MirroredStrategy(["/cpu:0"]).distribute_datasets_from_function(dataset_of)
    assert seen == [ShardChoice(0, 1)]


@pytest.mark.parametrize("shard", ["auto", (0, 2), tf.distribute.InputContext(2, 0, 2)])
def test_hosts_of_tpus_are_refused_whatever_the_shard(shard) -> None:
    with OneHostTPU().scope(), pytest.raises(OptionError, match=r"TPU runs datasets on other hosts.*MultiWorker"):
        resolve_shard(shard)


@pytest.mark.parametrize(
    ("choice", "batch_size"),
    [
        (ShardChoice(0, 1), None),
        (ShardChoice(0, 3), None),
        (ShardChoice(1, 3), 7),
        (ShardChoice(1, 3), 3),
        (ShardChoice(1, 3, replicas=2), 12),
        (ShardChoice(1, 3, replicas=2, rebatched=True), 6),
    ],
)
def test_batches_that_can_be_divided(choice: ShardChoice, batch_size) -> None:
    choice.check_batch(batch_size)


@pytest.mark.parametrize(
    ("choice", "batch_size", "message"),
    [
        (ShardChoice(0, 2, rebatched=True), None, "nothing to divide among 2 replicas: set batch_size"),
        (ShardChoice(0, 2, rebatched=True), 7, "expected a multiple of 2, found 7. Use 6 or 8."),
        (ShardChoice(0, 2, replicas=2), 3, "expected a multiple of 4, found 3. Use 4."),
        (ShardChoice(0, 3), 2, "2 rows leave none for some of 3 shards. Use at least 3."),
        (ShardChoice(0, 1, replicas=2), 9, "expected a multiple of 2, found 9. Use 8 or 10."),
    ],
)
def test_batches_that_can_not(choice: ShardChoice, batch_size, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        choice.check_batch(batch_size)


def test_pieces_are_what_tensorflow_makes_of_a_batch() -> None:
    assert (ShardChoice(0, 3).pieces, ShardChoice(0, 3).steps_of_element) == (1, 1)
    assert (ShardChoice(0, 3, replicas=2).pieces, ShardChoice(0, 3, replicas=2).steps_of_element) == (2, 1)
    rebatched = ShardChoice(0, 3, replicas=2, rebatched=True)
    assert (rebatched.pieces, rebatched.steps_of_element) == (6, 3)


def test_several_workers_in_tf_config_without_their_strategy_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", config({"chief": ["c:1"], **TWO}))
    with pytest.warns(UserWarning, match=r"TF_CONFIG names 3 workers.*strategy\.scope\(\)"):
        assert resolve_shard("auto") == ShardChoice(0, 1)
    # One worker's strategy shares nothing out either.
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope(), pytest.warns(UserWarning, match="TF_CONFIG"):
        assert resolve_shard("auto") == ShardChoice(0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "[]",
        '{"cluster": 3, "task": {"type": "worker"}}',
        config({"worker": ["a:1"]}),
        config({"chief": ["a:1"], "evaluator": ["b:1"]}, "chief"),
        # An evaluator is meant to read everything.
        config({**TWO, "evaluator": ["e:1"]}, "evaluator"),
    ],
)
def test_nothing_is_said_where_no_other_worker_trains(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_shard("auto") == ShardChoice(0, 1)


def test_a_shard_that_is_told_is_no_reason_to_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", config(TWO))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_shard((0, 1)) == ShardChoice(0, 1)

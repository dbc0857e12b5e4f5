"""`tf.train.Checkpoint` of an iterator goes on exactly where it was, also in a new process."""

from __future__ import annotations

import pytest
import tensorflow as tf

import tfpetastorm as tps
from tests.tfdata.new_process import goes_on_exactly

OPTIONS = {"fields": ["id", "name", "tags"], "batch_size": 16, "shuffle": True, "seed": 9}


@pytest.mark.slow
def test_a_new_process_goes_on_exactly(plain, tmp_path):
    """15 steps are just one epoch: the checkpoint then lies between two passes."""
    make = "dataset = tps.make_dataset(url, **options).repeat()"
    assert goes_on_exactly(make, {"url": str(plain), "options": OPTIONS}, 40, [1, 14, 15, 16, 20], tmp_path)


@pytest.mark.slow
def test_several_epochs_and_the_process_pool(plain, tmp_path):
    options = {**OPTIONS, "epochs": 3, "pool": "process"}
    make = "dataset = tps.make_dataset(url, **options)"
    assert goes_on_exactly(make, {"url": str(plain), "options": options}, 100, [22], tmp_path)


def test_restoring_in_the_same_process(plain, tmp_path):
    dataset = tps.make_dataset(plain, **OPTIONS)
    iterator = iter(dataset)
    checkpoint = tf.train.Checkpoint(iterator=iterator)
    for _ in range(4):
        next(iterator)
    saved = checkpoint.save(tmp_path / "a")
    rest = [batch["id"].numpy().tolist() for batch in iterator]
    other = iter(dataset)
    next(other)
    tf.train.Checkpoint(iterator=other).restore(saved)
    assert [batch["id"].numpy().tolist() for batch in other] == rest
    # The next pass is a new one.
    assert [batch["id"].numpy().tolist() for batch in dataset][4:] != rest


def test_elements_come_through_the_tf_data_service_in_process(plain):
    dispatcher = tf.data.experimental.service.DispatchServer()
    worker = tf.data.experimental.service.WorkerServer(
        tf.data.experimental.service.WorkerConfig(dispatcher_address=dispatcher.target.split("://")[1])
    )
    dataset = tps.make_dataset(plain, fields=["id"], batch_size=16)
    service = tf.data.experimental.service.distribute("parallel_epochs", dispatcher.target)
    ids = [int(i) for batch in dataset.apply(service) for i in batch["id"]]
    assert sorted(ids) == list(range(240))
    del worker

"""`tf.train.Checkpoint` of an iterator goes on exactly where it was, also in a new process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import tensorflow as tf

import tfpetastorm as tps

PROGRAM = """
import json, sys
import tensorflow as tf
import tfpetastorm as tps

url, options, repeat, take, save_to, restore_from = json.loads(sys.argv[1])
dataset = tps.make_dataset(url, **options)
iterator = iter(dataset.repeat() if repeat else dataset)
checkpoint = tf.train.Checkpoint(iterator=iterator)
if restore_from:
    checkpoint.restore(restore_from).assert_consumed()
ids = []
for _ in range(take):
    batch = next(iterator, None)
    if batch is None:
        break
    ids.append(batch["id"].numpy().tolist())
saved = checkpoint.save(save_to) if save_to else None
print("RESULT" + json.dumps([ids, saved]))
"""


def run(url, options, take, save_to=None, restore_from=None, repeat=False):
    """The batches of ids that a new process gets, and where it saved its iterator."""
    arguments = json.dumps([str(url), options, repeat, take, save_to and str(save_to), restore_from])
    done = subprocess.run([sys.executable, "-c", PROGRAM, arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("RESULT")[1])


OPTIONS = {"fields": ["id", "name", "tags"], "batch_size": 16, "shuffle": True, "seed": 9}


@pytest.mark.parametrize("steps", [1, 14, 15, 16, 20])
@pytest.mark.slow
def test_a_new_process_goes_on_exactly(plain, tmp_path, steps):
    """15 steps are just one epoch: the checkpoint then lies between two passes."""
    whole, _ = run(plain, OPTIONS, 40, repeat=True)
    first, saved = run(plain, OPTIONS, steps, save_to=tmp_path / "a", repeat=True)
    rest, _ = run(plain, OPTIONS, 40 - steps, restore_from=saved, repeat=True)
    assert first + rest == whole


@pytest.mark.slow
def test_several_epochs_and_the_process_pool(plain, tmp_path):
    options = {**OPTIONS, "epochs": 3, "pool": "process"}
    whole, _ = run(plain, options, 45)
    first, saved = run(plain, options, 22, save_to=tmp_path / "a")
    rest, _ = run(plain, options, 45, restore_from=saved)
    assert first + rest == whole


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

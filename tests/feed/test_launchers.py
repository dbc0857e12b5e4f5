"""Shards that are not what Horovod, MPI or TF_CONFIG say of this process are warned of, once, where they were given."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfpetastorm as tps
from tfpetastorm.errors import DatasetWarning

CLUSTER = {"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 0}}
LAUNCHERS = {
    "horovod": {"HOROVOD_RANK": "1", "HOROVOD_SIZE": "3"},
    "openmpi": {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "3"},
    "mpich": {"PMI_RANK": "1", "PMI_SIZE": "3"},
    "tensorflow": {"TF_CONFIG": json.dumps(CLUSTER)},
    "tensorflow under an MPI of its own": {"TF_CONFIG": json.dumps(CLUSTER), "PMI_RANK": "0", "PMI_SIZE": "1"},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launchers") / "dataset"
    with tps.DatasetWriter(folder, tps.Unischema("S", [tps.UnischemaField("id", np.int64)])) as writer:
        for i in range(12):
            writer.write({"id": i})
    return folder


@pytest.fixture(params=LAUNCHERS.values(), ids=LAUNCHERS)
def launched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is rank 1 of 3."""
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)


def dataset(path: Path, **shard: int) -> None:
    """`make_dataset` with a reader's words for a shard."""
    if shard:
        part = (shard.get("cur_shard", 0), shard.get("shard_count", 1))
        tps.make_dataset(path, batch_size=3, even="drop", shard=part)
    else:
        tps.make_dataset(path, batch_size=3, even="drop")


def rows(path: Path, **shard: int) -> None:
    with tps.make_reader(path, **shard):
        pass


def batches(path: Path, **shard: int) -> None:
    with tps.make_batch_reader(path, **shard):
        pass


WAYS = pytest.mark.parametrize("made", [dataset, rows, batches])


@pytest.mark.usefixtures("launched")
@WAYS
def test_shards_that_are_not_the_ranks_are_warned_of(made: Callable[..., None], path: Path) -> None:
    wrong = [{"cur_shard": 1, "shard_count": 2}, {"cur_shard": 0, "shard_count": 3}, {"cur_shard": 2, "shard_count": 3}]
    for shard in wrong:
        with pytest.warns(DatasetWarning, match=r"rank 1 of 3 .*=\(?.*For a part of its own give .*1, .*3") as caught:
            made(path, **shard)
        assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize("made", [rows, batches])
def test_readers_without_shards_are_warned_of(made: Callable[..., None], path: Path) -> None:
    with pytest.warns(DatasetWarning, match="no shard is given.* give cur_shard=1, shard_count=3; ") as caught:
        made(path)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("name", ["horovod", "openmpi", "mpich"])
def test_a_dataset_without_shards_is_warned_of(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in LAUNCHERS[name].items():
        monkeypatch.setenv(variable, value)
    with pytest.warns(DatasetWarning, match=r"no shard is given.* give shard=\(1, 3\); ") as caught:
        dataset(path)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.usefixtures("launched")
@WAYS
def test_the_ranks_own_shard_and_every_row_asked_for_are_fine(made: Callable[..., None], path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(path, cur_shard=1, shard_count=3)
        made(path, cur_shard=0, shard_count=1)


@WAYS
@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HOROVOD_RANK": "0", "HOROVOD_SIZE": "1"},
        {"HOROVOD_RANK": "1"},
        {"PMI_RANK": "x", "PMI_SIZE": "3"},
        {"TF_CONFIG": "{"},
        {"TF_CONFIG": json.dumps({**CLUSTER, "task": {"type": "evaluator", "index": 0}})},
    ],
    ids=["none", "one process", "no size", "no number", "no JSON", "evaluator"],
)
def test_nothing_is_said_where_no_launcher_names_others(
    made: Callable[..., None], environment: dict[str, str], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(path)
        made(path, cur_shard=1, shard_count=2)


@pytest.mark.parametrize("made", [rows, batches])
@pytest.mark.parametrize(
    "config",
    [
        {**CLUSTER, "task": {"type": "worker", "index": 2}},
        {**CLUSTER, "task": {"type": "worker", "index": -1}},
        {"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}},
    ],
    ids=["beyond", "below", "no list"],
)
def test_a_cluster_that_this_process_is_no_part_of_gives_no_advice(
    made: Callable[..., None], config: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(path)
        made(path, cur_shard=1, shard_count=2)


@pytest.mark.usefixtures("launched")
def test_what_tensorflow_distributes_is_not_doubted(path: Path) -> None:
    def of(context: Any) -> Any:
        return tps.make_dataset(path, batch_size=3, even="drop", shard=context)

    with warnings.catch_warnings():
        warnings.simplefilter("error", DatasetWarning)
        strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
        found = [int(i) for batch in strategy.distribute_datasets_from_function(of) for i in batch["id"]]
    assert found == list(range(12))

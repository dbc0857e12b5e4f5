"""Datasets on a real S3 server, by pyarrow's client and by fsspec's: written, added to, read by every pool, copied."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cloudpickle
import fsspec
import numpy as np
import pyarrow.fs as pafs
import pytest

import tfpetastorm as tps
from benchmarks.s3_server import S3Server
from tests.storage.helpers import SCHEMA, ids_of, row
from tfpetastorm.cli import main
from tfpetastorm.errors import DatasetError, DatasetExistsError, DatasetNotFoundError, DatasetWarning
from tfpetastorm.upkeep.checking import check_dataset

#: A dataset's place on the server: its URL or path, and the options that lead there.
Place = tuple[str, dict[str, Any]]
At = Callable[[str], Place]

WAYS: dict[str, Callable[[S3Server, str], Place]] = {
    "URL for pyarrow": lambda s3, name: (s3.url(name), {}),
    "pyarrow's filesystem": lambda s3, name: (f"data/{name}", {"filesystem": s3.filesystem()}),
    "s3fs": lambda s3, name: (f"s3://data/{name}", {"filesystem": s3.fsspec()}),
}


@pytest.fixture(params=WAYS)
def at(request: pytest.FixtureRequest, s3: S3Server) -> At:
    way = WAYS[request.param]
    return lambda name: way(s3, name)


def write(place: Place, ids: range, **options: Any) -> None:
    url, where = place
    with tps.DatasetWriter(url, SCHEMA, workers=0, **options, **where) as writer:
        for i in ids:
            writer.write(row(i))


def names(s3: S3Server, folder: str = "set") -> set[str]:
    found = s3.filesystem().get_file_info(pafs.FileSelector(f"data/{folder}", recursive=True))
    return {info.path.partition(f"{folder}/")[2] for info in found if info.type == pafs.FileType.File}


def local(path: Path, ids: range, **options: Any) -> str:
    write((str(path), {}), ids, **options)
    return str(path)


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def rows_of(reader: Any) -> list[dict[str, Any]]:
    with reader:
        return [{name: plain(value) for name, value in one._asdict().items()} for one in reader]


def test_every_mode_of_writing(at: At, s3: S3Server) -> None:
    url, where = at("set")
    write(at("set"), range(20), file_rows=7, row_group_rows=5)
    assert ids_of(url, **where) == list(range(20))
    assert len(names(s3)) == 4
    with pytest.raises(DatasetExistsError, match="holds a dataset already"):
        write(at("set"), range(3))
    write(at("set"), range(20, 25), mode="append")
    assert ids_of(url, **where) == list(range(25))
    write(at("set"), range(5), mode="overwrite")
    assert ids_of(url, **where) == list(range(5))
    assert len(names(s3)) == 2


def test_partitions(at: At) -> None:
    url, where = at("set")
    schema = tps.Unischema("Split", [tps.UnischemaField("id", np.int64), tps.UnischemaField("day", np.str_)])
    with tps.DatasetWriter(url, schema, partition_by=["day"], **where) as writer:
        writer.write_batch({"id": list(range(6)), "day": ["a b", "c/d"] * 3})
    dataset = tps.open_dataset(url, **where)
    assert sorted({row_group.statistics("day").minimum for row_group in dataset.row_groups}) == ["a b", "c/d"]  # type: ignore[union-attr]
    with tps.make_batch_reader(url, num_epochs=1, shuffle_row_groups=False, **where) as reader:
        assert [(list(batch.id), set(batch.day)) for batch in reader] == [([0, 2, 4], {"a b"}), ([1, 3, 5], {"c/d"})]


def test_nothing_there_is_no_failing_store(at: At, s3: S3Server) -> None:
    url, where = at("nowhere")
    with pytest.raises(DatasetNotFoundError):
        tps.open_dataset(url, **where)
    assert len(s3.counts().log) < 5


@pytest.mark.parametrize("pool", ["thread", "process", "inline"])
def test_make_dataset_gives_the_same_as_from_this_disk(at: At, tmp_path: Path, pool: Any) -> None:
    write(at("set"), range(60), file_rows=20, row_group_rows=5)
    here = local(tmp_path / "set", range(60), file_rows=20, row_group_rows=5)

    def elements(url: str, **options: Any) -> list[Any]:
        options |= {
            "shuffle": True,
            "seed": 3,
            "batch_size": 8,
            "nulls": "mask",
            "pool": tps.PoolOptions(pool, workers=2),
        }
        return [{name: str(value) for name, value in one.items()} for one in tps.make_dataset(url, **options)]

    url, where = at("set")
    assert elements(url, **where) == elements(here)


@pytest.mark.parametrize("pool", ["thread", "process", "dummy"])
def test_readers_give_the_same_as_from_this_disk(at: At, tmp_path: Path, pool: str) -> None:
    write(at("set"), range(60), file_rows=20, row_group_rows=5)
    here = local(tmp_path / "set", range(60), file_rows=20, row_group_rows=5)
    options: dict[str, Any] = {"reader_pool_type": pool, "workers_count": 2, "num_epochs": 1, "seed": 5}
    url, where = at("set")
    assert rows_of(tps.make_reader(url, **options, **where)) == rows_of(tps.make_reader(here, **options))
    options["schema_fields"] = ["id", "name"]
    batches = [rows_of(tps.make_batch_reader(a, **options, **more)) for a, more in ((url, where), (here, {}))]
    assert batches[0] == batches[1]


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_storage_options_as_petastorms_programs_give_them(s3: S3Server, pool: str) -> None:
    write((s3.url("set"), {}), range(30), row_group_rows=5)
    options: dict[str, Any] = {"reader_pool_type": pool, "workers_count": 2, "num_epochs": 1}
    with tps.make_reader("s3://data/set", storage_options=s3.storage_options(), **options) as reader:
        assert sorted(one.id for one in reader) == list(range(30))


def test_urls_that_only_fsspec_knows(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    write((s3.url("set"), {}), range(30), file_rows=10)
    monkeypatch.setitem(fsspec.config.conf, "s3", s3.storage_options())
    # fsspec keeps an object for each URL, with the options of its day.
    fsspec.get_filesystem_class("simplecache").clear_instance_cache()
    assert ids_of("simplecache::s3://data/set") == list(range(30))
    assert ids_of("simplecache::s3://data/set/*.parquet") == list(range(30))


def test_globs_and_lists(at: At) -> None:
    for name in ("a", "b"):
        write(at(f"sets/{name}"), range(3))
    url, where = at("sets/*")
    assert ids_of(url, **where) == [0, 1, 2] * 2
    assert ids_of([at("sets/b")[0], at("sets/a")[0]], **where) == [0, 1, 2] * 2


def test_a_used_filesystem_goes_to_another_process(at: At) -> None:
    write(at("set"), range(5))
    url, where = at("set")
    dataset = tps.open_dataset(url, **where)
    program = (
        "import sys, cloudpickle; fs, path = cloudpickle.load(sys.stdin.buffer); print(fs.get_file_info(path).size)"
    )
    given = cloudpickle.dumps((dataset.filesystem, dataset.files[0].path))
    done = subprocess.run(
        [sys.executable, "-c", program], input=given, capture_output=True, check=True, env=environment()
    )
    assert int(done.stdout) == dataset.files[0].size


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}


def test_a_filesystem_that_pyarrow_wrapped_reads_exact_ranges_too(s3: S3Server) -> None:
    write((s3.url("set"), {}), range(2000))
    wrapped = pafs.PyFileSystem(pafs.FSSpecHandler(s3.fsspec()))
    dataset = tps.open_dataset("data/set", filesystem=wrapped)
    s3.reset()
    with dataset.filesystem.open_input_file(dataset.files[0].path) as file:
        file.read_at(10, 100)
    assert s3.counts().bytes_sent() == 10


def test_what_others_wrote_is_seen_at_once(at: At, s3: S3Server) -> None:
    write(at("set"), range(5))
    url, where = at("set")
    assert ids_of(url, **where) == list(range(5))
    write((s3.url("set"), {}), range(5, 9), mode="append")
    assert ids_of(url, **where) == list(range(9))
    write((s3.url("set"), {}), range(3), mode="overwrite")
    assert ids_of(url, **where) == list(range(3))


def test_footers_kept_in_the_sidecar_are_not_read_again(at: At, s3: S3Server) -> None:
    write(at("set"), range(12), file_rows=2)
    url, where = at("set")
    tps.open_dataset(url, sidecar="always", **where)
    s3.reset()
    assert tps.open_dataset(url, sidecar="always", **where).num_rows == 12
    assert not s3.counts().of("GET", ".parquet")


def test_copying_and_checking(at: At) -> None:
    write(at("set"), range(30), file_rows=10)
    (url, where), (target, _) = at("set"), at("copy")
    given = {f"{side}_filesystem": where.get("filesystem") for side in ("source", "target")}
    tps.copy_dataset(url, target, where=[("id", ">=", 10)], **given)
    assert ids_of(target, **where) == list(range(10, 30))
    assert not check_dataset(target, **where).findings


def test_the_command_line(s3: S3Server, capsys: pytest.CaptureFixture[str]) -> None:
    url = s3.url("set")
    write((url, {}), range(30), file_rows=10)
    for command in (
        ["info", url],
        ["head", url],
        ["copy", url, s3.url("copy")],
        ["throughput", url, "--seconds", "0.2", "-m", "1", "-n", "2"],
    ):
        assert main(command) == 0, command
    assert ids_of(s3.url("copy")) == list(range(30))
    said = "".join(capsys.readouterr())
    assert "points" in said
    assert s3.secret_key not in said
    assert quote(s3.secret_key, safe="") not in said


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["append", "overwrite", "error"])
def test_a_writer_killed_at_any_step_leaves_the_earlier_dataset(s3: S3Server, mode: str) -> None:
    if mode != "error":
        for step in range(STEPS):
            write((s3.url(f"{step}"), {}), range(7), file_rows=4)
    command = [sys.executable, "-m", "tests.object_store.crash_child", str(s3.port), mode, str(STEPS)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    died = [line == "1" for line in ran.stdout.split()]
    assert died[0]
    assert not died[-1]
    old, new = list(range(7)) if mode != "error" else None, list(range(100, 125))
    after = (old or []) + new if mode == "append" else new
    seen = [ids_or_none(s3.url(f"{step}")) for step in range(STEPS)]
    commit = seen.index(after)
    assert 0 < commit < len(died) - 1
    assert seen == [old] * commit + [after] * (STEPS - commit)  # never anything else
    for step in range(0, died.index(False), 3):
        # As if the minutes had passed for which it may be a living writer's.
        found = s3.filesystem().get_file_info(pafs.FileSelector(f"data/{step}"))
        for info in found:
            if info.base_name.startswith(".tfpetastorm-commit-"):
                s3.filesystem().delete_file(info.path)
        write((s3.url(f"{step}"), {}), range(3), mode="overwrite")
        assert ids_or_none(s3.url(f"{step}")) == [0, 1, 2]


#: More than any mode takes: the last ones live.
STEPS = 28


def ids_or_none(url: str) -> list[int] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        try:
            return ids_of(url)
        except DatasetError:
            return None

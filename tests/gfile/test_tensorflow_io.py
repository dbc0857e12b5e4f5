"""tensorflow-io's own S3 filesystem against a real S3 server, and its other schemes. Runs where it can be loaded."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from benchmarks.s3_server import S3Server
from tests.gfile.test_datasets import SCHEMA, ids, write
from tfpetastorm.errors import DatasetError, DatasetExistsError, DatasetNotFoundError, StoreError


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    # tensorflow-io looks at the environment once in a process.
    before = dict(os.environ)
    with S3Server() as server:
        os.environ.update(server.environment())
        os.environ.update(S3_ENDPOINT=server.endpoint, S3_VERIFY_SSL="0")
        yield server
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def s3(running: S3Server) -> Iterator[S3Server]:
    running.reset(objects=True)
    yield running
    running.reset()


@pytest.fixture
def where(s3: S3Server) -> dict[str, Any]:
    return {"url": "s3://data/some folder/ds", "filesystem": tps.gfile_filesystem("s3")}


def test_written_in_every_mode_and_read_by_every_reader(where: dict[str, Any]) -> None:
    write(where, 0, 10)
    write(where, 10, 15, mode="append")
    assert tps.open_dataset(**where).schema == SCHEMA
    assert ids(where) == list(range(15))
    with tps.make_reader(**_named(where), num_epochs=1, shuffle_row_groups=False) as reader:
        assert [row.id for row in reader] == list(range(15))
    with pytest.raises(DatasetExistsError):
        write(where, 0, 1)
    write(where, 20, 23, mode="overwrite")
    assert ids(where) == [20, 21, 22]
    write(where, 0, 3, mode="overwrite", partition_by=["id"])
    assert tps.open_dataset(**where).partition_fields == {"id": (0, 1, 2)}
    assert sorted(ids(where)) == [0, 1, 2]


def _named(where: dict[str, Any]) -> dict[str, Any]:
    return {"dataset_url": where["url"], "filesystem": where["filesystem"]}


def test_its_objects_are_those_that_pyarrow_sees(s3: S3Server, where: dict[str, Any]) -> None:
    write(where, 0, 10)
    theirs = s3.filesystem()
    found = tps.open_dataset("s3://data/some folder/ds", filesystem=theirs)
    assert found.num_rows == 10
    assert found.files == tps.open_dataset(**where).files
    ours = tps.gfile_filesystem("s3")
    listings = [
        sorted(
            (info.path, info.type, info.size) for info in one.get_file_info(pafs.FileSelector("data", recursive=True))
        )
        for one in (ours, theirs)
    ]
    assert len(listings[0]) == 4
    # Folders have no size to us, 0 to pyarrow or none, by its version.
    assert [one[:2] for one in listings[0]] == [one[:2] for one in listings[1]]
    assert {one for one in listings[0] if one[1] == pafs.FileType.File} <= {*listings[1]}
    assert pickle.loads(pickle.dumps(ours)) == ours


def test_worker_processes_connect_by_themselves(s3: S3Server, where: dict[str, Any]) -> None:
    write(where, 0, 10)
    stored = tps.open_dataset(**where)
    before = s3.counts().log
    s3.reset()
    assert ids(where, pool="process") == list(range(10))
    # None of this process's connections: those were opened before.
    mine = {one.client for one in before}
    theirs = {one.client for one in s3.counts().of("GET", stored.files[0].name)}
    assert theirs
    assert not theirs & mine


def test_deleting_and_what_it_can_not_do(s3: S3Server) -> None:
    ours = tps.gfile_filesystem("s3")
    for name in ("a/x", "a/b/y", "ab"):
        with ours.open_output_stream(f"data/{name}", compression=None) as file:
            file.write(name.encode())
    with ours.open_output_stream("data/empty", compression=None):
        pass
    assert ours.get_file_info("data/empty").size == 0
    with ours.open_input_file("data/empty") as file:
        assert file.read() == b""
    ours.copy_file("data/ab", "data/copy")
    with ours.open_input_stream("data/copy", compression=None) as file:
        assert file.read() == b"ab"
    with pytest.raises(NotImplementedError, match="no renames"):
        ours.move("data/ab", "data/moved")
    with pytest.raises(FileNotFoundError):
        ours.delete_file("data/nothing")
    ours.delete_file("data/ab")
    ours.delete_dir("data/a")
    assert set(_keys(s3)) == {"data/copy", "data/empty"}


def _keys(s3: S3Server) -> list[str]:
    found = s3.filesystem().get_file_info(pafs.FileSelector("data", recursive=True))
    return [info.path for info in found if info.type == pafs.FileType.File]


def test_only_the_chosen_columns_are_read(s3: S3Server, where: dict[str, Any]) -> None:
    """But for what TensorFlow rounds up: half a megabyte a range."""
    schema = tps.Unischema(
        "Wide", [tps.UnischemaField(name, np.uint8, (4 << 10,), tps.NdarrayCodec()) for name in ("a", "b", "c")]
    )
    rows, groups = 1024, 2
    with tps.DatasetWriter(**where, schema=schema, row_group_rows=rows, compression="none") as writer:
        values = np.random.default_rng(0).integers(0, 256, (groups * rows, 4 << 10), np.uint8)
        writer.write_batch({"a": values, "b": values, "c": values})
    stored = tps.open_dataset(**where)
    s3.reset()
    dataset = tps.make_dataset(stored, fields=["b"], batch_size=rows, shuffle=False)
    assert np.array_equal(np.concatenate([batch["b"] for batch in dataset]), values)
    with s3.filesystem().open_input_file(stored.files[0].path) as file:
        footer = pq.ParquetFile(file).metadata
        wanted = sum(footer.row_group(i).column(1).total_compressed_size for i in range(groups))
    spent = s3.counts().bytes_sent("GET", ".parquet")
    assert wanted <= spent <= 1.2 * wanted


def test_a_server_that_fails_in_passing_is_asked_again(s3: S3Server, where: dict[str, Any]) -> None:
    write(where, 0, 10)
    s3.reset()
    s3.faults(fail_every=2, times=6)
    assert ids(where) == list(range(10))
    assert sum(one.status == 503 for one in s3.counts().log) == 6
    s3.reset()
    s3.faults(cut_every=3, times=3, methods=("GET",))
    assert ids(where) == list(range(10))
    assert sum(one.status == 0 for one in s3.counts().log) == 3


def test_a_refusal_is_no_absence(s3: S3Server, where: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    """To `tf.io.gfile.stat` both are "not found"; to take it so would write a new dataset over an old one."""
    write(where, 0, 10)
    s3.faults(fail_every=1, status="403 Forbidden", code="AccessDenied")
    for use in (lambda: tps.open_dataset(**where), lambda: write(where, 0, 1, mode="append")):
        with pytest.raises((StoreError, DatasetError)) as caught:
            use()
        assert not isinstance(caught.value, DatasetNotFoundError)
        assert s3.secret_key not in str(caught.value)
        assert s3.access_key not in str(caught.value)
    s3.reset()
    assert ids(where) == list(range(10))
    told = capfd.readouterr()
    assert s3.secret_key not in told.out + told.err


def test_what_the_store_fails_at_is_no_damage(s3: S3Server, where: dict[str, Any]) -> None:
    write(where, 0, 10)
    with tps.make_reader(**_named(where), num_epochs=1, reader_pool_type="dummy") as reader:
        # One that it does not try again.
        s3.faults(fail_every=1, status="409 Conflict", code="OperationAborted")
        with pytest.raises(StoreError, match=r"client has given up") as caught:
            next(reader)
    s3.reset()
    assert tps.open_dataset(**where).num_rows == 10
    assert s3.secret_key not in str(caught.value)


@pytest.mark.slow  # its client tries for 150 s before it gives up
def test_a_server_that_is_down_is_an_error_and_no_absence(s3: S3Server, where: dict[str, Any]) -> None:
    write(where, 0, 10)
    s3.faults(fail_every=1)
    with pytest.raises(StoreError, match="client has given up") as caught:
        tps.open_dataset(**where)
    assert s3.secret_key not in str(caught.value)


def test_absent_is_absent(where: dict[str, Any]) -> None:
    with pytest.raises(DatasetNotFoundError, match="s3://data/some folder/ds"):
        tps.open_dataset(**where)


@pytest.mark.parametrize("scheme", ["s3", "az", "har", "hdfs", "http", "https", "oss", "viewfs"])
def test_its_schemes_are_known(scheme: str) -> None:
    assert tps.gfile_filesystem(scheme).type_name == f"py::gfile+{scheme}"


def test_a_url_that_nothing_else_serves_loads_it() -> None:
    """By name, without `filesystem=`: pyarrow does not know Hadoop's archives, nor does fsspec."""
    with pytest.raises(DatasetError, match=f"har://{(name := uuid4().hex)}/x"):
        tps.open_dataset(f"har://{name}/x")


def test_an_http_server_that_refuses_is_an_error(s3: S3Server) -> None:
    with pytest.raises(PermissionError, match="403"):
        tps.gfile_filesystem("http").open_input_file(f"127.0.0.1:{s3.port}/data/x")

"""fsspec's filesystems as `pyarrow.fs` has them, on a real server: exact ranges, nothing stale, few requests."""

from __future__ import annotations

import contextlib
import io
import pickle
import socket
import threading
from urllib.parse import quote

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from fsspec.implementations.arrow import ArrowFSWrapper
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfpetastorm as tps
from benchmarks.s3_server import S3Server
from tfpetastorm.errors import StoreError
from tfpetastorm.stores.filesystem import resolve
from tfpetastorm.stores.options import filesystem_of

CONTENT = bytes(range(256)) * 2000


def opened(s3: S3Server, path: str = "data/a/b.bin") -> tuple[pafs.FileSystem, str]:
    location = resolve(path, s3.fsspec())
    return location.filesystem, location.paths[0]


def put(s3: S3Server, path: str = "data/a/b.bin", content: bytes = CONTENT) -> None:
    with s3.filesystem().open_output_stream(path) as file:
        file.write(content)


def test_only_the_bytes_asked_for_are_fetched(s3: S3Server) -> None:
    put(s3)
    filesystem, path = opened(s3)
    s3.reset()
    with filesystem.open_input_file(path) as file:
        assert file.read_at(100, 1000) == CONTENT[1000:1100]
        assert file.size() == len(CONTENT)
        assert file.read_at(100, len(CONTENT) - 20) == CONTENT[-20:]
        assert file.read_at(100, len(CONTENT)) == b""
    assert [(one.method, one.sent) for one in s3.counts().log] == [("GET", 100), ("HEAD", 0), ("GET", 20)]


def test_columns_far_apart_are_fetched_side_by_side(s3: S3Server) -> None:
    columns = [f"c{i}" for i in range(5)]
    schema = tps.Unischema("Wide", [tps.UnischemaField(name, np.int64) for name in columns])
    values = np.random.default_rng(0).integers(0, 2**60, (5, 10_000))
    with tps.DatasetWriter(s3.url("wide"), schema, row_group_rows=10_000) as writer:
        writer.write_batch(dict(zip(columns, values, strict=True)))
    where = {"filesystem": s3.fsspec()}
    opened = tps.open_dataset("data/wide", **where)
    s3.reset()
    s3.faults(latency=0.3)
    (batch,) = tps.make_dataset(opened, fields=["c0", "c4"], batch_size=10_000, pool="inline")
    assert batch["c4"].numpy().tolist() == values[4].tolist()
    counts = s3.counts()
    assert len(counts.of("GET", ".parquet")) == counts.peak == 2
    assert counts.bytes_sent() < 1.2 * values[:2].nbytes


READS = st.lists(
    st.tuples(st.sampled_from(["read", "seek", "at"]), st.integers(0, 700), st.integers(0, 300)), max_size=6
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(READS)
def test_a_file_reads_as_python_has_it(s3: S3Server, steps: list[tuple[str, int, int]]) -> None:
    put(s3, content=CONTENT[:600])
    filesystem, path = opened(s3)
    expected = io.BytesIO(CONTENT[:600])
    with filesystem.open_input_file(path) as file:
        for kind, first, second in steps:
            if kind == "read":
                assert file.read(second) == expected.read(second)
            elif kind == "seek":
                file.seek(first)
                expected.seek(first)
            else:
                assert file.read_at(second, first) == CONTENT[:600][first : first + second]
                expected.seek(first + len(CONTENT[:600][first : first + second]))
                file.seek(expected.tell())


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 400_000])
def test_a_stream_takes_few_requests(s3: S3Server, size: int) -> None:
    put(s3, content=CONTENT[:size])
    filesystem, path = opened(s3)
    s3.reset()
    with filesystem.open_input_stream(path) as file:
        assert file.read() == CONTENT[:size]
        assert file.read(3) == b""
    assert len(s3.counts().log) <= 5
    with filesystem.open_input_stream(path) as file:
        parts = [file.read(1000) for _ in range(500)]
    assert b"".join(parts) == CONTENT[:size]


def test_what_others_change_is_seen(s3: S3Server) -> None:
    put(s3)
    filesystem, path = opened(s3)
    selector = pafs.FileSelector("data/a", recursive=True)
    assert [info.path for info in filesystem.get_file_info(selector)] == [path]
    assert filesystem.get_file_info(path).size == len(CONTENT)
    put(s3, content=b"other")
    put(s3, "data/a/c.bin")
    assert filesystem.get_file_info(path).size == 5
    assert len(filesystem.get_file_info(selector)) == 2
    with filesystem.open_input_file(path) as file:
        assert file.read() == b"other"
    s3.filesystem().delete_file(path)
    assert filesystem.get_file_info(path).type == pafs.FileType.NotFound
    assert [info.path for info in filesystem.get_file_info(selector)] == ["data/a/c.bin"]


def test_listings_tell_sizes_times_and_kinds_as_pyarrows_own_client(s3: S3Server) -> None:
    for path in ("data/a/b.bin", "data/a/d/e.bin"):
        put(s3, path)
    filesystem, _ = opened(s3)

    def facts(of: pafs.FileSystem, recursive: bool) -> set[object]:
        infos = of.get_file_info(pafs.FileSelector("data/a", recursive=recursive))
        files = {(info.path, info.type, info.size, info.mtime) for info in infos if info.type == pafs.FileType.File}
        return files | {info.path for info in infos if info.type == pafs.FileType.Directory}

    for recursive in (True, False):
        assert facts(filesystem, recursive) == facts(s3.filesystem(), recursive)
    with pytest.raises(FileNotFoundError):
        filesystem.get_file_info(pafs.FileSelector("data/none"))
    assert filesystem.get_file_info(pafs.FileSelector("data/none", allow_not_found=True)) == []
    with pytest.raises((NotADirectoryError, OSError)):
        filesystem.get_file_info(pafs.FileSelector("data/a/b.bin"))


def test_writing_deleting_and_copying(s3: S3Server) -> None:
    filesystem, path = opened(s3)
    s3.reset()
    filesystem.create_dir("data/a", recursive=True)
    assert not s3.counts().log
    with filesystem.open_output_stream(path) as file:
        file.write(CONTENT)
    filesystem.copy_file(path, "data/copy.bin")
    s3.reset()
    filesystem.delete_file(path)
    assert [one.method for one in s3.counts().log] == ["DELETE"]
    assert [info.path for info in s3.filesystem().get_file_info(pafs.FileSelector("data"))] == ["data/copy.bin"]
    with pytest.raises(FileNotFoundError):
        filesystem.open_input_file("data/none").read()


@pytest.mark.parametrize("name", ["a%20b", "a b", "a%2Bb", "a%2520b", "ü", "%C3%BC"])
def test_a_url_means_the_same_key_by_every_client(s3: S3Server, name: str) -> None:
    url = f"s3://data/{name}/c"
    by_pyarrow = resolve(s3.url("PLACE").replace("data/PLACE", f"data/{quote(name, safe='%')}/c")).paths
    options = s3.storage_options()
    assert resolve(url, filesystem_of(url, options), glob=False).paths == by_pyarrow
    assert resolve(url, s3.filesystem(), glob=False).paths == by_pyarrow
    # A path is no URL.
    assert resolve(f"data/{name}/c", s3.fsspec(), glob=False).paths == (f"data/{name}/c",)


def test_waiting_has_limits_unless_they_are_given(s3: S3Server) -> None:
    # Anew, as botocore writes in the options that it is given.
    options = s3.storage_options() | {"skip_instance_cache": True}
    assert filesystem_of("s3://data/a", options).exists("data")
    set_by_us = filesystem_of("s3://data/a", options).config_kwargs
    assert set_by_us == {"connect_timeout": 10, "read_timeout": 10, "retries": {"max_attempts": 1}}
    given = {"read_timeout": 99, "retries": {"mode": "standard"}}
    kept = filesystem_of("s3://data/a", options | {"config_kwargs": given}).config_kwargs
    assert kept == {"connect_timeout": 10, **given}


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up_on(s3: S3Server) -> None:
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(100)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        options = s3.storage_options() | {"endpoint_url": f"http://127.0.0.1:{server.getsockname()[1]}"}
        options["config_kwargs"] = {"read_timeout": 0.2}
        with pytest.raises(StoreError, match="Read timeout"), tps.make_reader("s3://data/a", storage_options=options):
            pass
    for one in taken:
        one.close()
    # Of ours up to five tries, each of s3fs's five by botocore's two.
    assert 10 <= len(taken) <= 50


def test_no_bucket_is_made_unasked(s3: S3Server) -> None:
    filesystem, _ = opened(s3)
    filesystem.create_dir("other/a", recursive=True)
    with pytest.raises((FileNotFoundError, OSError)):
        filesystem.open_output_stream("other/a/b.bin").close()
    assert filesystem.get_file_info("other").type == pafs.FileType.NotFound


def test_the_same_store_is_equal_also_after_pickling(s3: S3Server) -> None:
    location = resolve("data/a/b.bin", fsspec.filesystem("s3", **s3.storage_options()))
    filesystem, path = location.filesystem, location.paths[0]
    put(s3)
    assert filesystem.get_file_info(path).size == len(CONTENT)
    again = pickle.loads(pickle.dumps(filesystem))
    assert again == filesystem
    assert again.get_file_info(path).size == len(CONTENT)


def test_filesystems_that_only_stand_for_pyarrows_are_just_those() -> None:
    assert isinstance(resolve("/tmp/x", fsspec.filesystem("file")).filesystem, pafs.LocalFileSystem)
    local = resolve("/tmp/x", ArrowFSWrapper(pafs.LocalFileSystem())).filesystem
    assert isinstance(local, pafs.LocalFileSystem)


def test_drivers_without_ranges_of_their_own(s3: S3Server) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/ranges/x", CONTENT)
    filesystem = resolve("/ranges/x", memory).filesystem
    with filesystem.open_input_file("/ranges/x") as file:
        assert file.read_at(10, 300) == CONTENT[300:310]
        assert file.size() == len(CONTENT)
        assert file.read_at(10, len(CONTENT) - 3) == CONTENT[-3:]
    with pytest.raises((FileNotFoundError, pa.ArrowException)):
        filesystem.open_input_file("/ranges/none").read()
    filesystem.delete_file("/ranges/x")
    assert not memory.exists("/ranges/x")

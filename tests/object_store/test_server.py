"""The server that other tests judge by: it stores, counts, delays, fails, cuts and refuses."""

from __future__ import annotations

import time

import pyarrow.fs as pafs
import pytest

from benchmarks.s3_server import S3Server

CONTENT = bytes(range(256)) * 1000


def put(s3: S3Server, name: str = "a/b.bin") -> str:
    with s3.filesystem().open_output_stream(f"data/{name}") as file:
        file.write(CONTENT)
    s3.reset()
    return f"data/{name}"


def test_what_is_stored_is_found_by_every_client(s3: S3Server) -> None:
    path = put(s3)
    found, its_path = pafs.FileSystem.from_uri(s3.url("a/b.bin"))
    assert its_path == path
    for filesystem in (s3.filesystem(), found):
        with filesystem.open_input_file(path) as file:
            assert file.read() == CONTENT
    assert s3.fsspec().cat(path) == CONTENT
    s3.reset(objects=True)
    assert not s3.filesystem().get_file_info(pafs.FileSelector("data", recursive=True))


def test_ranges_and_bytes_are_counted_by_method_and_key(s3: S3Server) -> None:
    path = put(s3)
    with s3.filesystem().open_input_file(path) as file:
        assert file.read_at(100, 1000) == CONTENT[1000:1100]
        assert file.read_at(10, 5) == CONTENT[5:15]
    counts = s3.counts()
    assert counts.requests == {("HEAD", path): 1, ("GET", path): 2}
    assert counts.sent["GET", path] == counts.bytes_sent() == 110
    assert [(one.start, one.end) for one in counts.of("GET")] == [(1000, 1100), (5, 15)]
    s3.reset()
    assert not s3.counts().log


def test_a_cut_answer_is_short_and_a_failed_one_empty(s3: S3Server) -> None:
    path = put(s3)
    filesystem = s3.filesystem(retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=1))
    s3.faults(cut_every=1, methods=["GET"])
    with filesystem.open_input_file(path) as file, pytest.raises(OSError, match="partial file"):
        file.read()
    assert [one.sent for one in s3.counts().of("GET")] == [len(CONTENT) // 2]
    s3.faults(fail_every=1, match="b.bin")
    with pytest.raises(OSError, match="503"):
        filesystem.open_input_file(path)
    with filesystem.open_output_stream("data/other") as file:
        file.write(b"unharmed")
    s3.faults(fail_every=2, times=1)
    assert [filesystem.get_file_info(path).type for _ in range(1)] == [pafs.FileType.File]
    with pytest.raises(OSError, match="503"):
        filesystem.get_file_info(path)
    assert [filesystem.get_file_info(path).size for _ in range(4)] == [len(CONTENT)] * 4


def test_latency_is_a_lower_bound(s3: S3Server) -> None:
    path = put(s3)
    s3.faults(latency=0.2)
    start = time.monotonic()
    s3.filesystem().get_file_info(path)
    assert time.monotonic() - start >= 0.2


def test_other_credentials_are_refused(s3: S3Server) -> None:
    path = put(s3)
    stranger = pafs.S3FileSystem(
        access_key="other",
        secret_key="other",
        endpoint_override=f"127.0.0.1:{s3.port}",
        scheme="http",
        region=s3.region,
    )
    with pytest.raises(OSError, match=r"(?i)denied|403"):
        stranger.get_file_info(path)
    with S3Server(session_token="planted-token") as server:
        with pytest.raises(OSError, match=r"(?i)denied|403|token"):
            s3.filesystem(endpoint_override=f"127.0.0.1:{server.port}").get_file_info("data/x")
        assert server.filesystem().get_file_info("data/x").type == pafs.FileType.NotFound

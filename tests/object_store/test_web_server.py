"""Datasets on web servers, by fsspec's http: servers differ in what they do, and say, as no store does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import tfpetastorm as tps
from tests.object_store.web_server import WebServer
from tests.storage.helpers import ids_of
from tfpetastorm.cli import main
from tfpetastorm.errors import DatasetNotFoundError, StoreError
from tfpetastorm.storage.listing import list_dataset
from tfpetastorm.stores.filesystem import resolve


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    with WebServer(tmp_path) as server:
        yield server


def put(web: WebServer, name: str, rows: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**60, rows)
    pq.write_table(pa.table({"id": np.arange(rows), "value": values}), web.folder / name)


def test_a_server_that_serves_ranges(web: WebServer) -> None:
    put(web, "set.parquet", 100_000)
    assert ids_of(web.url("set.parquet")) == list(range(100_000))
    assert ("GET", 206) in web.log


def test_a_server_that_ignores_ranges_is_told_of_at_once(web: WebServer) -> None:
    """Arrow would copy the whole file to where it has room for a range."""
    put(web, "set.parquet", 100_000)
    web.ranges = False
    size = (web.folder / "set.parquet").stat().st_size
    with pytest.raises(StoreError, match=rf"ignores ranges: it sent {size} bytes .*set.parquet.* 65536 were asked"):
        tps.open_dataset(web.url("set.parquet"))
    assert web.log.count(("GET", 200)) == 1


@pytest.mark.parametrize("size", [1, 700, 65536, 65537, 131_072])
def test_no_reading_of_a_whole_file_for_a_range_is_taken_for_the_range(web: WebServer, size: int) -> None:
    content = np.random.default_rng(0).bytes(size)
    (web.folder / "file").write_bytes(content)
    web.ranges = False
    location = resolve(web.url("file"))
    path = location.paths[0]
    for start, wanted in ((0, size), (1, size + 5), (size // 2, size // 4), (size - 1, 10), (0, 1)):
        with location.filesystem.open_input_file(path) as file:
            said = ""
            try:
                found = file.read_at(wanted, start)
            except OSError as error:
                said = str(error)
        assert "ignores ranges" in said or found == content[start : start + wanted]
    with location.filesystem.open_input_stream(path) as stream:
        assert stream.read() == content
    with location.filesystem.open_input_stream(path) as stream:
        if size <= 65536:
            assert stream.read(10) + stream.read() == content
        else:
            with pytest.raises(OSError, match="ignores ranges"):
                stream.read(10)


def test_a_small_file_is_read_whole_from_a_server_that_ignores_ranges(web: WebServer) -> None:
    (web.folder / "file").write_bytes(b"abc")
    web.ranges = False
    location = resolve(web.url("file"))
    with location.filesystem.open_input_stream(location.paths[0]) as stream:
        assert stream.read() == b"abc"


def test_a_copy_made_first_needs_no_ranges(web: WebServer, tmp_path: Path) -> None:
    put(web, "set.parquet", 100_000)
    web.ranges = False
    copied = fsspec.filesystem("simplecache", target_protocol="http", cache_storage=str(tmp_path / "copied"))
    assert ids_of(web.url("set.parquet"), filesystem=copied) == list(range(100_000))


class Generous(MemoryFileSystem):  # type: ignore[misc]
    """A driver whose ranges are whole files."""

    protocol = "generous"

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: object) -> bytes:
        return bytes(super().cat_file(path))


def test_a_driver_that_gives_more_than_it_is_asked_for() -> None:
    filesystem = Generous()
    filesystem.pipe("/generous", bytes(1_000_000))
    found = resolve("/generous", filesystem).filesystem
    with found.open_input_file("/generous") as file, pytest.raises(OSError, match="ignores ranges: it sent 1000000"):
        file.read_at(10, 5)
    filesystem.rm("/generous")


@pytest.mark.parametrize("status", [503, 0])
def test_a_server_in_trouble_is_no_missing_file(web: WebServer, status: int) -> None:
    """fsspec's http says "there is no such file" for all that a server answers, and for none."""
    for i in range(3):
        put(web, f"part-{i}.parquet", 100)
    urls = [web.url(f"part-{i}.parquet") for i in range(3)]
    dataset = tps.make_dataset(urls, batch_size=100, on_error=tps.Skip(budget=1000), pool="inline", shuffle=False)
    web.statuses = {"part-1": status}
    says = f"HTTP status {status} " if status else "Server disconnected"
    with pytest.raises(Exception, match=rf"tried 5 times: .*{says}.*part-1|part-1.*tried 5 times: .*{says}"):
        list(dataset)
    with pytest.raises(StoreError, match=f"tried 5 times: .*{says}"):
        tps.open_dataset(urls)
    web.statuses = {}
    assert ids_of(urls) == 3 * list(range(100))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_a_file_is_told_at_once(web: WebServer, status: int) -> None:
    put(web, "set.parquet", 100)
    web.statuses = {"set": status}
    with pytest.raises(StoreError, match=f"HTTP status {status} "):
        tps.open_dataset(web.url("set.parquet"))
    assert web.log == [("HEAD", status), ("GET", status)]


@pytest.mark.parametrize("status", [404, 410])
def test_a_missing_file_is_just_that(web: WebServer, status: int) -> None:
    web.statuses = {"set": status}
    with pytest.raises(DatasetNotFoundError):
        tps.open_dataset(web.url("set.parquet"))


def test_a_signed_url_opens_its_file_and_no_other(web: WebServer) -> None:
    put(web, "set.parquet", 100)
    web.statuses = {"_common_metadata": 403}
    assert ids_of(web.url("set.parquet?signature=abc")) == list(range(100))
    web.statuses = {"_common_metadata": 503}
    with pytest.raises(StoreError, match="_common_metadata"):
        tps.open_dataset(web.url("set.parquet"))


@pytest.mark.parametrize(
    ("userinfo", "query"),
    [("user:PassWord77", ""), ("", "?X-Sig=PassWord77"), ("user:PassWord77", "?X-Sig=a/PassWord77&b=Pass/Word77")],
)
def test_a_dataset_tells_no_credentials_of_its_url_and_stores_none(
    web: WebServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], userinfo: str, query: str
) -> None:
    """fsspec's http knows a file by its whole URL."""
    put(web, "set.parquet", 100)
    url = web.url("set.parquet" + query, userinfo)
    dataset = tps.open_dataset(url)
    location = resolve(url)
    assert dataset.root == web.url("", userinfo).rstrip("/")
    assert [file.name for file in dataset.files] == ["set.parquet"]
    assert (dataset.schema.schema_name, list(dataset.schema.fields)) == ("Parquet", ["id", "value"])
    shown = [dataset, dataset.files, dataset.inventory, dataset.row_groups[0], location, list_dataset(location)]
    told = repr(shown) + str(dataset)
    for command in ("info", "head"):
        main([command, url])
    assert main(["copy", url, str(tmp_path / "copy")]) == 0
    told += "".join(capsys.readouterr())
    stored = b"".join(path.read_bytes() for path in (tmp_path / "copy").iterdir())
    for secret in ("PassWord77", "Word77", "user:"):
        assert secret not in told
        assert secret.encode() not in stored


def test_files_whose_urls_differ_in_their_queries_are_different(web: WebServer) -> None:
    put(web, "set.parquet", 5)
    urls = [web.url(f"set.parquet?which=secret-{name}") for name in "ab"]
    dataset = tps.open_dataset(urls)
    assert ids_of(urls) == [*range(5), *range(5)]
    assert len({file.name for file in dataset.files}) == 2
    assert "secret" not in repr(dataset)

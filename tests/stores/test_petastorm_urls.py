"""URLs as petastorm's programs ask for them, and the names of its HDFS connectors."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pyarrow.fs as pafs
import pytest

from tfpetastorm.errors import HdfsReplacedError, OptionError
from tfpetastorm.fs_utils import (
    FilesystemResolver,
    get_dataset_path,
    get_filesystem_and_path_or_paths,
    normalize_dir_url,
)
from tfpetastorm.hdfs import namenode


def test_a_file() -> None:
    found = FilesystemResolver("file:///abs/path", {}, connector=object())
    assert isinstance(found.filesystem(), pafs.LocalFileSystem)
    assert found.parsed_dataset_url().netloc == ""
    assert found.get_dataset_path() == "/abs/path"
    factory = pickle.loads(pickle.dumps(found.filesystem_factory()))
    assert isinstance(factory(), pafs.LocalFileSystem)
    with pytest.raises(RuntimeError, match="filesystem_factory"):
        pickle.dumps(found)


@pytest.mark.parametrize(
    ("url", "path"),
    [("s3://bucket/a/b", "bucket/a/b"), ("gs://bucket/a", "bucket/a"), ("s3://key:secret@bucket/a", "bucket/a")],
)
def test_an_object_store_counts_its_bucket(url: str, path: str) -> None:
    assert FilesystemResolver(url).get_dataset_path() == path
    assert get_dataset_path(urlparse(url)) == path


def test_options_go_to_fsspec() -> None:
    pytest.importorskip("fsspec")
    found = FilesystemResolver("memory://bucket/a", storage_options={"skip_instance_cache": True})
    assert type(found.filesystem()).__name__ == "MemoryFileSystem"
    with pytest.raises(OptionError) as caught:
        FilesystemResolver("github://bucket/a", storage_options={"token": "secret"}).filesystem()
    assert "secret" not in str(caught.value)


def test_a_factory_shows_no_credentials() -> None:
    options = {"key": "KEYKEY", "secret": "TOPSECRET"}
    found = FilesystemResolver("s3://KEYKEY:TOPSECRET@bucket/a", storage_options=options)
    shown = repr(found.filesystem_factory()) + repr(found)
    assert "bucket/a" in shown
    assert "KEYKEY" not in shown
    assert "TOPSECRET" not in shown


@pytest.mark.parametrize("url", ["/abs/path", urlparse("unknown://foo/bar"), "s3:///foo/bar", urlparse("gcs:///foo")])
def test_what_is_no_url(url: Any) -> None:
    with pytest.raises(ValueError):
        FilesystemResolver(url, {})


@pytest.mark.parametrize("kind", [RuntimeError, OSError, ValueError, HdfsReplacedError])
def test_hdfs_shows_the_new_call(kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"pyarrow.fs.HadoopFileSystem\(host, port\)"):
        FilesystemResolver("hdfs:///some/path", {})


@pytest.mark.parametrize(
    "call",
    [
        lambda: namenode.HdfsNamenodeResolver({}),
        lambda: namenode.HAHdfsClient(None, []),
        lambda: namenode.HdfsConnector.hdfs_connect_namenode("hdfs://a"),
        lambda: namenode.HdfsConnector.connect_to_either_namenode(["a", "b"]),
        lambda: namenode.namenode_failover(print),
        lambda: namenode.failover_all_class_methods(print),
    ],
)
def test_connectors_show_the_new_call(call: Any) -> None:
    with pytest.raises(HdfsReplacedError, match=r"is replaced.*filesystem=pyarrow.fs.HadoopFileSystem"):
        call()


def test_several_urls_are_on_one_filesystem() -> None:
    filesystem, path = get_filesystem_and_path_or_paths("file:///some/path")
    assert isinstance(filesystem, pafs.LocalFileSystem)
    assert path == "/some/path"
    _, paths = get_filesystem_and_path_or_paths(["file:///a/1.parquet", "file:///a/2.parquet"])
    assert paths == ["/a/1.parquet", "/a/2.parquet"]
    given = pafs.LocalFileSystem()
    assert get_filesystem_and_path_or_paths("s3://b/p", filesystem=given) == (given, "b/p")
    with pytest.raises(ValueError, match="same scheme"):
        get_filesystem_and_path_or_paths(["file:///a/1.parquet", "hdfs:///a/2.parquet"])


def test_a_slash_at_the_end() -> None:
    assert normalize_dir_url("file:///a/") == "file:///a"
    for wrong in (None, "", Path("/a")):
        with pytest.raises(ValueError):
            normalize_dir_url(wrong)

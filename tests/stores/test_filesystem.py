"""URLs, paths, globs and lists; what an error says, and what it never says."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from urllib.parse import unquote

import fsspec
import pyarrow.fs as pafs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tfpetastorm as tps
from tests.storage.helpers import ids_of, plain, write
from tfpetastorm.errors import DatasetError, OptionError, PoolError
from tfpetastorm.redaction import redact
from tfpetastorm.stores.filesystem import resolve


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    for i in range(3):
        plain(tmp_path / f"set/day={i}/f{i}.parquet", id=[i, i + 10])
    return tmp_path / "set"


def test_every_spelling_of_a_local_path(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [0, 10, 1, 11, 2, 12]
    monkeypatch.chdir(numbered.parent)
    for url in (str(numbered), numbered, f"file://{numbered}", f"file:{numbered}", f"{numbered}/", "set", "./set"):
        assert ids_of(url) == expected, url
    assert ids_of("/set", filesystem=pafs.SubTreeFileSystem(str(numbered.parent), pafs.LocalFileSystem())) == expected
    assert ids_of(str(numbered), filesystem=fsspec.filesystem("file")) == expected
    assert ids_of(str(numbered), filesystem=pafs.LocalFileSystem()) == expected


def test_a_path_with_spaces_and_percent_signs(tmp_path: Path) -> None:
    plain(tmp_path / "a b%20c/x.parquet", id=[1])
    assert ids_of(tmp_path / "a b%20c") == [1]
    assert ids_of(f"file://{tmp_path}/a%20b%2520c") == [1]


def test_a_home_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    plain(tmp_path / "data/x.parquet", id=[1])
    assert ids_of("~/data") == [1]
    # As a shell has it.
    monkeypatch.chdir(tmp_path)
    plain(tmp_path / "~nobody by this name/x.parquet", id=[2])
    assert ids_of("~nobody by this name") == [2]


def test_a_hash_is_part_of_a_name() -> None:
    reached = "endpoint_override=127.0.0.1:1&scheme=http&region=here"
    for name in ("a#b", "a%23b", "#"):
        found = resolve(f"s3://key:secret@bucket/{name}/c?{reached}")
        assert found.paths == (f"bucket/{unquote(name)}/c",)


@pytest.mark.parametrize("url", ["file://host/set", "file://user:password@host/set", "FILE://tmp/set"])
def test_a_file_url_of_another_host(url: str) -> None:
    with pytest.raises(DatasetError, match="names a host or a relative path") as caught:
        resolve(url)
    assert "password" not in str(caught.value)


def test_globs_and_lists(numbered: Path) -> None:
    assert ids_of(f"{numbered}/day=[01]/*.parquet") == [0, 10, 1, 11]
    assert ids_of(f"{numbered}/**/f?.parquet") == [0, 10, 1, 11, 2, 12]
    assert ids_of(f"{numbered}/day=*") == [0, 10, 1, 11, 2, 12]
    assert ids_of([numbered / "day=2/f2.parquet", f"file://{numbered}/day=0/f0.parquet"]) == [0, 10, 2, 12]
    # The folders above files of a list still name their partition.
    assert tps.open_dataset([numbered / "day=2/f2.parquet"]).partition_fields == {"day": (2,)}


def test_a_glob_leaves_out_hidden_names_and_takes_a_folder_of_that_name(tmp_path: Path) -> None:
    for name in ("a.parquet", "_b.parquet", ".c.parquet"):
        plain(tmp_path / name, id=[1])
    assert [file.name for file in tps.open_dataset(f"{tmp_path}/*").files] == ["a.parquet"]
    plain(tmp_path / "x[1]/a.parquet", id=[2])
    assert ids_of(tmp_path / "x[1]") == [2]


def test_a_file_picked_from_a_dataset_keeps_its_schema(tmp_path: Path) -> None:
    write(tmp_path / "ds", range(20), file_rows=10)
    everything = tps.open_dataset(tmp_path / "ds")
    first = tps.open_dataset(everything.files[0].path)
    assert first.schema == everything.schema
    assert (first.kind, first.num_rows) == ("tfpetastorm", 10)


def test_several_datasets_as_one(tmp_path: Path) -> None:
    write(tmp_path / "a", range(5))
    write(tmp_path / "b", range(5, 9))
    assert ids_of([tmp_path / "a", tmp_path / "b"]) == list(range(9))
    assert tps.open_dataset([tmp_path / "a", tmp_path / "b"]).schema == tps.open_dataset(tmp_path / "a").schema


def test_fsspec_serves_what_pyarrow_does_not() -> None:
    memory = fsspec.filesystem("memory")
    with memory.open("/mem/set/x.parquet", "wb") as file:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"id": [4, 5]}), file)
    assert ids_of("memory://mem/set") == [4, 5]
    assert ids_of("/mem/set", filesystem=memory) == [4, 5]
    memory.rm("/mem", recursive=True)


def test_a_dataset_in_a_store_without_renames() -> None:
    memory = fsspec.filesystem("memory")
    with tps.DatasetWriter("memory://mem2/ds", _schema(), row_group_rows=2) as writer:
        writer.write_batch({"id": [1, 2, 3]})
    with tps.DatasetWriter("memory://mem2/ds", _schema(), mode="append") as writer:
        writer.write_batch({"id": [4]})
    assert ids_of("memory://mem2/ds") == [1, 2, 3, 4]
    with tps.DatasetWriter("memory://mem2/ds", _schema(), mode="overwrite") as writer:
        writer.write({"id": 9})
    assert ids_of("memory://mem2/ds") == [9]
    assert len(memory.find("/mem2")) == 2
    memory.rm("/mem2", recursive=True)


@pytest.mark.parametrize("within", [None, "dir"])
def test_the_memory_of_one_process_is_told_of(within: str | None) -> None:
    memory = fsspec.filesystem("memory")
    with tps.DatasetWriter("memory://mem3/ds", _schema()) as writer:
        writer.write({"id": 1})
    filesystem = memory if within is None else fsspec.filesystem(within, fs=memory, path="/mem3")
    path = "ds" if within == "dir" else "/mem3/ds"
    assert ids_of(path, filesystem=filesystem) == [1]
    with (
        pytest.raises(PoolError, match=r"memory of one process.*pool='thread'|memory of one process.*pool_type"),
        tps.make_reader(path, filesystem=filesystem, reader_pool_type="process", num_epochs=1) as reader,
    ):
        next(reader)
    with tps.make_reader(path, filesystem=filesystem, reader_pool_type="thread", num_epochs=1) as reader:
        assert [row.id for row in reader] == [1]
    memory.rm("/mem3", recursive=True)
    with pytest.raises(TypeError, match="memory of one process"):
        pickle.dumps(resolve("/x", fsspec.filesystem("simplecache", fs=memory)).filesystem)


def _schema() -> tps.Unischema:
    import numpy as np

    return tps.Unischema("Ids", [tps.UnischemaField("id", np.int64)])


def test_fsspec_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(DatasetError, match=r"tfpetastorm\[fsspec\]"):
        resolve("memory://x/y")


def test_a_package_missing_for_fsspec_is_named() -> None:
    with pytest.raises(DatasetError, match=r"paramiko|sftp"):
        resolve("sftp://host/x")


def test_hdfs_without_libhdfs_says_what_to_install() -> None:
    with pytest.raises(DatasetError, match="JAVA_HOME and HADOOP_HOME") as caught:
        tps.open_dataset("hdfs://namenode:8020/data")
    assert "libhdfs" in str(caught.value)
    assert len(str(caught.value)) < 800


def test_hadoops_names_of_s3() -> None:
    for scheme in ("s3", "s3a", "s3n", "S3A"):
        found = resolve(f"{scheme}://bucket/a/b?region=eu-central-1")
        assert found.filesystem.type_name == "py::s3"
        assert found.paths == ("bucket/a/b",)


def test_an_explicit_filesystem_takes_a_url() -> None:
    store = pafs.S3FileSystem(region="eu-central-1", anonymous=True)
    assert resolve("s3a://bucket/a/b/", store).paths == ("bucket/a/b",)
    assert resolve("bucket/a/b", store).paths == ("bucket/a/b",)


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAKEY:TOPSECRET@bucket/a b",
        "s3://AKIAKEY:TOP%2FSECRET@bucket/x?region=%%",
        "s3://AKIAKEY:TOP/SECRET@bucket/x?scheme=nonsense",
        "nosuch://user:TOPSECRET@host/x",
        "https://user:TOPSECRET@localhost:1/x.parquet?token=TOPSECRET",
        "hdfs://user:TOPSECRET@host:1/x",
    ],
)
def test_credentials_never_appear_in_an_error(url: str) -> None:
    with pytest.raises((DatasetError, OptionError)) as caught:
        tps.open_dataset(url)
    error: BaseException | None = caught.value
    assert "SECRET" not in str(error)
    assert error is not None
    assert error.__context__ is None or error.__suppress_context__


@given(
    st.sampled_from(["s3", "https", "hdfs", "gs", "x+y"]),
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1),
    st.text("abc/12", min_size=1),
)
@example("s3", "::", "00")
@example("s3", "://@/?#[", "x")
def test_redacting_never_keeps_a_password(scheme: str, secret: str, rest: str) -> None:
    marked = f"0SECRET0{secret}0SECRET0"
    assert "0SECRET0" not in redact(f"{scheme}://user:{marked}@host/{rest}")


def test_redacting_keeps_what_helps() -> None:
    assert redact("s3://bucket/a%20b") == "s3://bucket/a%20b"
    assert redact("hdfs://host:8020/x") == "hdfs://host:8020/x"
    assert redact("abfss://container@account/x?sig=abc") == "abfss://container@account/x?sig=…"
    assert redact("s3://key:secret@bucket/x?region=r&token=t") == "s3://bucket/x?region=…&token=…"
    assert redact("s3://key:secret") == "s3://key:…"
    assert redact("/plain/path@x?y") == "/plain/path@x?y"
    assert redact("simplecache::s3://key:secret@bucket/x") == "simplecache::s3://bucket/x"


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        tps.open_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"nothing matches.*\*"):
        tps.open_dataset(f"{tmp_path}/*.parquet")
    with pytest.raises(DatasetError, match="no Parquet files"):
        tps.open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="empty"):
        tps.open_dataset([])
    with pytest.raises(DatasetError, match="more than once"):
        plain(tmp_path / "a.parquet", id=[1])
        tps.open_dataset([tmp_path / "a.parquet", tmp_path / "a.parquet"])
    with pytest.raises(OptionError, match="int"):
        tps.open_dataset(3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="filesystem="):
        tps.open_dataset(tmp_path, filesystem=object())

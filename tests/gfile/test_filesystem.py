"""TensorFlow's filesystems do what pyarrow's own do."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow.fs as pafs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfpetastorm as tps
from tfpetastorm.errors import DatasetError, OptionError
from tfpetastorm.stores.filesystem import resolve

MEGABYTE = 1 << 20


@pytest.fixture(params=["ram", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[pafs.FileSystem, str]]:
    """A filesystem of TensorFlow and an empty folder on it."""
    filesystem = tps.gfile_filesystem(request.param)
    root = str(tmp_path / "root") if request.param == "file" else f"test-{uuid4().hex}"
    filesystem.create_dir(root)
    yield filesystem, root
    filesystem.delete_dir(root)


def put(filesystem: pafs.FileSystem, path: str, content: bytes) -> None:
    with filesystem.open_output_stream(path, compression=None) as file:
        file.write(content)


def get(filesystem: pafs.FileSystem, path: str) -> bytes:
    with filesystem.open_input_stream(path, compression=None) as file:
        return bytes(file.read())


def kinds(filesystem: pafs.FileSystem, root: str, *, recursive: bool = True) -> dict[str, tuple[str, int | None]]:
    found = filesystem.get_file_info(pafs.FileSelector(root, recursive=recursive))
    return {info.path.removeprefix(root + "/"): (info.type.name, info.size) for info in found}


def test_listings_are_those_of_pyarrow(tmp_path: Path) -> None:
    ours, theirs = tps.gfile_filesystem("file"), pafs.LocalFileSystem()
    root = str(tmp_path / "a b%20")
    for name in ("x", "sub/y", "sub/deeper/z", "subtle/w", "ü/v"):
        put(ours, f"{root}/{name}", name.encode())
    ours.create_dir(f"{root}/empty/er")
    for recursive in (True, False):
        assert kinds(ours, root, recursive=recursive) == kinds(theirs, root, recursive=recursive)
    # TensorFlow knows whole seconds.
    times = [filesystem.get_file_info(f"{root}/x").mtime_ns // 10**9 for filesystem in (ours, theirs)]
    assert times[0] == times[1]


def test_files_are_written_listed_and_read(place: tuple[pafs.FileSystem, str]) -> None:
    filesystem, root = place
    put(filesystem, f"{root}/a/b/c", b"see")
    put(filesystem, f"{root}/a/empty", b"")
    expected = {"a": ("Directory", None), "a/b": ("Directory", None), "a/b/c": ("File", 3), "a/empty": ("File", 0)}
    assert kinds(filesystem, root) == expected
    assert kinds(filesystem, root, recursive=False) == {"a": ("Directory", None)}
    assert get(filesystem, f"{root}/a/b/c") == b"see"
    assert get(filesystem, f"{root}/a/empty") == b""
    put(filesystem, f"{root}/a/b/c", b"again")
    assert get(filesystem, f"{root}/a/b/c") == b"again"


def test_a_stream_tells_where_it_is(place: tuple[pafs.FileSystem, str]) -> None:
    filesystem, root = place
    with filesystem.open_output_stream(f"{root}/x", compression=None) as file:
        file.write(b"abc")
        assert file.tell() == 3
        file.write(b"de")
        assert file.tell() == 5
    with filesystem.open_input_stream(f"{root}/x", compression=None) as file:
        assert [file.read(2), file.read(2), file.read(2), file.read(2)] == [b"ab", b"cd", b"e", b""]


def test_what_is_not_there(place: tuple[pafs.FileSystem, str]) -> None:
    filesystem, root = place
    put(filesystem, f"{root}/folder/file", b"1")
    missing, folder, file = f"{root}/fold", f"{root}/folder", f"{root}/folder/file"
    assert filesystem.get_file_info(missing).type == pafs.FileType.NotFound
    for use in (filesystem.open_input_file, filesystem.delete_file, filesystem.delete_dir):
        with pytest.raises(FileNotFoundError, match="fold"):
            use(missing)
    with pytest.raises(FileNotFoundError):
        filesystem.get_file_info(pafs.FileSelector(missing))
    assert filesystem.get_file_info(pafs.FileSelector(missing, allow_not_found=True)) == []
    with pytest.raises(NotADirectoryError):
        filesystem.get_file_info(pafs.FileSelector(file))
    for use in (filesystem.open_input_file, filesystem.open_input_stream, filesystem.delete_file):
        with pytest.raises(IsADirectoryError):
            use(folder)
    assert get(filesystem, file) == b"1"


def test_a_folder_is_none_for_a_name_that_begins_like_it(place: tuple[pafs.FileSystem, str]) -> None:
    """TensorFlow's memory takes "ab" for a folder where there is "abc/x", and shows "c" in it."""
    filesystem, root = place
    put(filesystem, f"{root}/abc/x", b"1")
    put(filesystem, f"{root}/abcd/deep/y", b"1")
    assert filesystem.get_file_info(f"{root}/ab").type == pafs.FileType.NotFound
    assert kinds(filesystem, f"{root}/abc") == {"x": ("File", 1)}
    filesystem.create_dir(f"{root}/ab")
    assert filesystem.get_file_info(f"{root}/ab").type == pafs.FileType.Directory
    assert kinds(filesystem, f"{root}/ab") == {}


def test_deleting_moving_and_copying(place: tuple[pafs.FileSystem, str]) -> None:
    filesystem, root = place
    put(filesystem, f"{root}/a/x", b"new")
    put(filesystem, f"{root}/a/y", b"old")
    filesystem.move(f"{root}/a/x", f"{root}/a/y")
    assert kinds(filesystem, f"{root}/a") == {"y": ("File", 3)}
    assert get(filesystem, f"{root}/a/y") == b"new"
    filesystem.copy_file(f"{root}/a/y", f"{root}/other/z")
    filesystem.delete_dir_contents(f"{root}/a")
    assert kinds(filesystem, root) == {"a": ("Directory", None), "other": ("Directory", None), "other/z": ("File", 3)}
    filesystem.delete_dir_contents(f"{root}/none", missing_dir_ok=True)
    filesystem.delete_file(f"{root}/other/z")
    filesystem.delete_dir(f"{root}/other")
    assert kinds(filesystem, root) == {"a": ("Directory", None)}
    with pytest.raises(NotImplementedError):
        filesystem.open_append_stream(f"{root}/a/x")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """A file larger than what TensorFlow reads ahead."""
    content = np.random.default_rng(0).bytes(3 * MEGABYTE + 77)
    path = tmp_path_factory.mktemp("large") / "file"
    path.write_bytes(content)
    return str(path), content


_OFFSETS = st.integers(0, 3 * MEGABYTE + 100)


@given(st.lists(st.tuples(_OFFSETS, st.integers(0, MEGABYTE)), max_size=6))
def test_ranges_in_any_order_hold_the_files_bytes(large: tuple[str, bytes], ranges: list[tuple[int, int]]) -> None:
    path, content = large
    with tps.gfile_filesystem("file").open_input_file(path) as file:
        assert file.size() == len(content)
        for start, size in ranges:
            assert file.read_at(size, start) == content[start : start + size]
        file.seek(5)
        assert file.read(3) == content[5:8]
        assert file.tell() == 8
        assert file.read() == content[8:]


def test_errors_are_pythons() -> None:
    filesystem = tps.gfile_filesystem("file")
    with pytest.raises(OSError, match="nowhere") as caught:
        put(filesystem, "/proc/nowhere/x", b"1")
    assert type(caught.value).__module__ == "builtins"
    # TensorFlow's own errors, with all they know, are not shown beside them.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_every_spelling_of_a_local_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem, local = tps.gfile_filesystem("file"), pafs.LocalFileSystem()
    monkeypatch.chdir(tmp_path)
    schema = tps.Unischema("Ids", [tps.UnischemaField("id", np.int64)])
    with tps.DatasetWriter("rel/a b", schema, filesystem=filesystem) as writer:
        writer.write_batch({"id": np.arange(3)})
    assert tps.open_dataset(tmp_path / "rel/a b").num_rows == 3
    for url in (
        "rel/a b",
        "./rel/a b/",
        f"{tmp_path}/rel/a b",
        f"file:{tmp_path}/rel/a%20b",
        f"file://{tmp_path}/rel/a%20b",
        f"FILE://localhost{tmp_path}/rel/a%20b",
    ):
        assert resolve(url, filesystem).paths == resolve(url, local).paths == (f"{tmp_path}/rel/a b",)
        assert tps.open_dataset(url, filesystem=filesystem).num_rows == 3
    for url in ("file://host/rel", "file://rel"):
        with pytest.raises(DatasetError, match="names a host or a relative path"):
            resolve(url, filesystem)
    with pytest.raises(OptionError, match="serves file://"):
        resolve("s3://bucket/rel", filesystem)
    # The filesystem by itself, too, takes paths from where the program is.
    put(filesystem, "new/x", b"1")
    assert (tmp_path / "new/x").read_bytes() == b"1"
    assert kinds(filesystem, "new") == {"x": ("File", 1)}


def test_equal_and_picklable() -> None:
    file = tps.gfile_filesystem("file")
    assert file == tps.gfile_filesystem("file")
    assert file != tps.gfile_filesystem("ram")
    assert pickle.loads(pickle.dumps(file)) == file
    with pytest.raises(TypeError, match="memory of one process"):
        pickle.dumps(tps.gfile_filesystem("ram"))


def test_what_is_no_scheme() -> None:
    with pytest.raises(OptionError, match=r"nosuch://, only .*file.*ram"):
        tps.gfile_filesystem("nosuch")
    with pytest.raises(OptionError, match="a scheme is a word") as caught:
        tps.gfile_filesystem("s3://user:TOPSECRET@bucket")
    assert "TOPSECRET" not in str(caught.value)


def test_urls_of_a_given_filesystem() -> None:
    memory = tps.gfile_filesystem("ram")
    for url in ("ram://a/b", "a/b", "ram://a/b/", "RAM://a/b"):
        found = resolve(url, memory)
        assert found.filesystem == memory
        assert found.paths == ("a/b",)
    assert resolve("ram://a/b@c").paths == ("a/b@c",)
    with pytest.raises(OptionError, match="serves ram://"):
        resolve("file:///a/b", memory)
    for url in ("ram://user:TOPSECRET@a/b", "ram://user:TOP/SECRET@a/b"):
        with pytest.raises(DatasetError, match="environment") as caught:
            resolve(url)
        assert "TOP" not in str(caught.value)
        assert "SECRET" not in str(caught.value)

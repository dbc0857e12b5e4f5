"""The sidecar saves reading footers, is never trusted blindly, and never litters."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pytest

import tfpetastorm as tps
from tests.storage.helpers import Counting, ids_of, plain, write
from tfpetastorm.storage.sidecar import SIDECAR_NAME


def make(path: Path, files: int) -> None:
    plain(path / "f0000.parquet", id=[0])
    content = (path / "f0000.parquet").read_bytes()
    for i in range(1, files):
        (path / f"f{i:04d}.parquet").write_bytes(content)


def opened(path: Path, **options: object) -> tuple[Counting, tps.DatasetError | None]:
    counting = Counting()
    tps.open_dataset(str(path), filesystem=pafs.PyFileSystem(counting), **options)  # type: ignore[arg-type]
    return counting, None


def test_thousands_of_files(tmp_path: Path) -> None:
    make(tmp_path, 3000)
    first, _ = opened(tmp_path)
    assert first.calls["list"] == 1
    assert first.calls["open"] == 3000 + 1  # and the metadata, which is not there
    assert first.calls["open:f0017.parquet"] == 1
    assert first.calls[f"move:{SIDECAR_NAME}"] == 1
    second, _ = opened(tmp_path)
    assert dict(second.calls) == {
        "info": 1, "list": 1, "open": 2, f"open:{SIDECAR_NAME}": 1, "open:_common_metadata": 1,
    }  # fmt: skip


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    make(tmp_path, 70)
    opened(tmp_path)
    plain(tmp_path / "f0003.parquet", id=[1, 2, 3])
    os.utime(tmp_path / "f0005.parquet", ns=(1, 1))
    plain(tmp_path / "f9999.parquet", id=[4])
    (tmp_path / "f0007.parquet").unlink()
    calls = opened(tmp_path)[0].calls
    read = sorted(name for name in calls if name.startswith("open:f"))
    assert read == ["open:f0003.parquet", "open:f0005.parquet", "open:f9999.parquet"]
    assert tps.open_dataset(tmp_path).num_rows == 70 - 1 + 2 + 1
    assert not any(name.startswith("open:f") for name in opened(tmp_path)[0].calls)


def test_a_file_rewritten_in_the_same_size_is_noticed(tmp_path: Path) -> None:
    make(tmp_path, 70)
    opened(tmp_path)
    before = (tmp_path / "f0001.parquet").stat()
    plain(tmp_path / "f0001.parquet", id=[9])
    assert (tmp_path / "f0001.parquet").stat().st_size == before.st_size
    os.utime(tmp_path / "f0001.parquet", ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
    statistics = tps.open_dataset(tmp_path).row_groups[1].statistics("id")
    assert statistics is not None
    assert statistics.minimum == 9


def test_small_datasets_are_not_littered(tmp_path: Path) -> None:
    make(tmp_path, 63)
    dataset = tps.open_dataset(tmp_path)
    assert not dataset.put_counts("k", np.arange(3))
    assert not (tmp_path / SIDECAR_NAME).exists()
    tps.open_dataset(tmp_path, sidecar="always")
    assert (tmp_path / SIDECAR_NAME).exists()


def test_never_means_neither_written_nor_read(tmp_path: Path) -> None:
    make(tmp_path, 64)
    dataset = tps.open_dataset(tmp_path, sidecar="never")
    assert not dataset.put_counts("k", np.arange(3))
    assert not (tmp_path / SIDECAR_NAME).exists()
    tps.open_dataset(tmp_path).put_counts("k", np.arange(3))
    counting, _ = opened(tmp_path, sidecar="never")
    assert counting.calls["open"] == 64 + 1
    assert tps.open_dataset(tmp_path, sidecar="never").get_counts("k") is None


@pytest.mark.parametrize("cut", [0, 7, 20, 60, -1])
def test_a_damaged_sidecar_counts_as_absent(tmp_path: Path, cut: int) -> None:
    make(tmp_path, 64)
    tps.open_dataset(tmp_path)
    good = (tmp_path / SIDECAR_NAME).read_bytes()
    (tmp_path / SIDECAR_NAME).write_bytes(good[:cut])
    assert opened(tmp_path)[0].calls["open"] == 65 + 1
    assert len((tmp_path / SIDECAR_NAME).read_bytes()) == len(good)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    (tmp_path / SIDECAR_NAME).write_bytes(flipped)
    assert opened(tmp_path)[0].calls["open"] == 65 + 1


def test_a_store_that_can_not_be_written_is_no_error(tmp_path: Path) -> None:
    class ReadOnly(Counting):
        def open_output_stream(self, path: str, metadata: object) -> object:
            raise PermissionError(path)

    make(tmp_path, 64)
    dataset = tps.open_dataset(str(tmp_path), filesystem=pafs.PyFileSystem(ReadOnly()))
    assert dataset.num_rows == 64
    assert not dataset.put_counts("k", np.arange(3))
    found = dataset.get_counts("k")
    assert found is not None  # for as long as this dataset is open
    assert not (tmp_path / SIDECAR_NAME).exists()


def test_counts_are_kept_for_this_data_only(tmp_path: Path) -> None:
    make(tmp_path, 64)
    dataset = tps.open_dataset(tmp_path)
    assert dataset.get_counts("k") is None
    assert dataset.put_counts("k", np.array([5, -1, 2**40], np.int64))
    assert tps.open_dataset(tmp_path).put_counts("other", np.arange(2, dtype=np.int8))
    again = tps.open_dataset(tmp_path)
    found, other = again.get_counts("k"), again.get_counts("other")
    assert found is not None
    assert other is not None
    assert found.dtype == np.int64
    assert (found.tolist(), other.tolist()) == ([5, -1, 2**40], [0, 1])
    plain(tmp_path / "f0003.parquet", id=[1, 2, 3])
    assert tps.open_dataset(tmp_path).get_counts("k") is None


def test_counts_of_a_long_dataset(tmp_path: Path) -> None:
    plain(tmp_path / "a.parquet", id=np.zeros(1_000_000, np.int8))
    dataset = tps.open_dataset(tmp_path)
    assert not (tmp_path / SIDECAR_NAME).exists()
    assert dataset.put_counts("k", np.arange(3))
    found = tps.open_dataset(tmp_path).get_counts("k")
    assert found is not None
    assert found.tolist() == [0, 1, 2]


def test_the_sidecar_is_not_taken_for_data(tmp_path: Path) -> None:
    write(tmp_path / "ours", range(10))
    tps.open_dataset(tmp_path / "ours", sidecar="always")
    assert ids_of(tmp_path / "ours") == list(range(10))
    make(tmp_path / "plain", 2)
    tps.open_dataset(tmp_path / "plain", sidecar="always")
    assert ids_of(tmp_path / "plain") == [0, 0]
    assert ids_of(f"{tmp_path}/plain/*") == [0, 0]


def test_footers_are_asked_for_at_once(tmp_path: Path) -> None:
    """Sixteen requests wait for one another here: one after the other they would never end."""
    import threading

    barrier = threading.Barrier(16, timeout=30)

    class Waiting(Counting):
        def open_input_file(self, path: str) -> object:
            if not path.endswith("_common_metadata"):
                barrier.wait()
            return super().open_input_file(path)

    make(tmp_path, 32)
    assert tps.open_dataset(str(tmp_path), filesystem=pafs.PyFileSystem(Waiting())).num_rows == 32

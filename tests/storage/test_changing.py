"""Datasets that are committed to while they are opened: what is seen is one commit or the other, without a warning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

import tfpetastorm as tps
from tests.storage.helpers import Counting, ids_of, write
from tfpetastorm.errors import DamagedDataError


class Busy(Counting):
    """The local filesystem; somebody does `work` right before a folder is listed, or right after."""

    def __init__(self, work: Callable[[int], None], *, after: bool, times: int = 1) -> None:
        super().__init__()
        self.work = work
        self.after = after
        self.left = times

    def get_file_info_selector(self, selector: Any) -> Any:
        found = super().get_file_info_selector(selector) if self.after else None
        if self.left:
            self.left -= 1
            self.work(self.left)
        return found or super().get_file_info_selector(selector)


@pytest.mark.parametrize(("mode", "after"), [("append", False), ("append", True), ("overwrite", False)])
def test_a_commit_while_a_dataset_is_opened(dataset_path: Path, mode: str, after: bool) -> None:
    write(dataset_path, range(5))
    busy = Busy(lambda _: write(dataset_path, range(5, 9), mode=mode), after=after)
    opened = tps.open_dataset(str(dataset_path), filesystem=pafs.PyFileSystem(busy))
    assert not busy.left
    assert opened.num_rows == (5 if after else len(ids_of(dataset_path)))


def test_the_first_commit_while_a_folder_is_opened(dataset_path: Path) -> None:
    dataset_path.mkdir()
    busy = Busy(lambda _: write(dataset_path, range(5)), after=False)
    opened = tps.open_dataset(str(dataset_path), filesystem=pafs.PyFileSystem(busy))
    assert (opened.num_rows, opened.schema.fields.keys()) == (5, tps.open_dataset(dataset_path).schema.fields.keys())


class Store(DirFileSystem):
    """A filesystem that is asked for a file's size and for its content apart; `work` is done once in between."""

    cachable = False
    work: Callable[[], None] | None = None

    def info(self, path: str, **options: Any) -> Any:
        found = super().info(path, **options)
        if path.endswith("_common_metadata") and self.work is not None:
            work, self.work = self.work, None
            work()
        return found


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_a_commit_between_the_size_of_the_metadata_and_its_content(dataset_path: Path, mode: str) -> None:
    write(dataset_path, range(5))
    write(dataset_path, range(5, 6), mode="append")
    store = Store(str(dataset_path.parent), LocalFileSystem())
    store.work = lambda: write(dataset_path, range(6, 9), mode=mode)
    opened = tps.open_dataset(dataset_path.name, filesystem=store)
    assert store.work is None
    assert opened.num_rows == (9 if mode == "append" else 3)


def test_commits_that_never_end_do_not_keep_a_reader(dataset_path: Path) -> None:
    write(dataset_path, range(5))
    busy = Busy(lambda left: write(dataset_path, range(left + 1), mode="overwrite"), after=False, times=1000)
    opened = tps.open_dataset(str(dataset_path), filesystem=pafs.PyFileSystem(busy))
    assert busy.left > 900
    assert opened.num_rows == len(ids_of(dataset_path)) == busy.left + 1


def test_a_file_that_is_missing_is_told_as_ever(dataset_path: Path) -> None:
    write(dataset_path, range(5))
    part = next(dataset_path.glob("*.parquet"))
    part.unlink()
    with pytest.raises(DamagedDataError, match=f"missing.*{part.name}"):
        tps.open_dataset(dataset_path)

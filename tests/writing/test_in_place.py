"""Filesystems on which a file is seen while it is written: metadata is moved into place there, never written over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

import tfpetastorm as tps
from tests.storage.helpers import ids_of, write
from tests.writing.test_crash import environment
from tfpetastorm.errors import DatasetWarning
from tfpetastorm.stores.atomic import replace_file
from tfpetastorm.stores.filesystem import resolve

KINDS = ["subtree", "fsspec's dir"]


def filesystem_of(kind: str, folder: Path) -> Any:
    if kind == "subtree":
        return pafs.SubTreeFileSystem(str(folder), pafs.LocalFileSystem())
    return DirFileSystem(str(folder), Dying())


class Dying(LocalFileSystem):
    """fsspec's local filesystem, whose process dies with a new `_common_metadata` half written."""

    cachable = False

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "wb" and "_common_metadata" in path and "die" in sys.argv:
            Path(path).write_bytes(b"PAR1")
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._open(path, mode, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_readers_never_see_half_of_it(tmp_path: Path, kind: str) -> None:
    options = {"filesystem": filesystem_of(kind, tmp_path)}
    write("set", range(5), **options)  # type: ignore[arg-type]
    failed: list[Exception] = []
    seen: list[int] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                seen.append(tps.open_dataset("set", **options).num_rows)
            except DatasetWarning:
                pass  # of the file that the next commit will list
            except Exception as error:  # noqa: BLE001 - whatever it is, it should not be
                failed.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    for i in range(5, 25):
        write("set", range(i, i + 1), mode="append", **options)  # type: ignore[arg-type]
    over.set()
    reading.join()
    assert not failed
    assert seen == sorted(seen)
    assert ids_of("set", **options) == list(range(25))


def test_killed_with_the_metadata_half_written(tmp_path: Path) -> None:
    options = {"filesystem": filesystem_of("fsspec's dir", tmp_path)}
    write("set", range(5), **options)  # type: ignore[arg-type]
    command = [sys.executable, "-m", "tests.writing.test_in_place", "die", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment())
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    with pytest.warns(DatasetWarning, match="left out"):
        assert ids_of("set", **options) == list(range(5))


class Occupied(LocalFileSystem):
    """Renames nothing over a file that is there: with an error, without a word, or not at all."""

    cachable = False

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        if self.how == "never":
            raise NotImplementedError("mv")
        if not self.exists(path2):
            super().mv(path1, path2, **options)
        elif self.how == "an error":
            raise OSError("[NtStatus 0xc0000035] File exists")


@pytest.mark.parametrize("how", ["an error", "nothing said", "never"])
def test_drivers_that_rename_nothing_over_a_file(tmp_path: Path, how: str) -> None:
    filesystem = resolve(str(tmp_path), DirFileSystem(str(tmp_path), Occupied(how))).filesystem
    for content in (b"old", b"new"):
        replace_file(filesystem, "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


if __name__ == "__main__":
    write("set", range(5, 9), mode="append", filesystem=filesystem_of("", Path(sys.argv[2])))  # type: ignore[arg-type]

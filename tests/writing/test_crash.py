"""A writer killed at any step leaves the earlier dataset, and the next writer cleans up after it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tests.storage.helpers import SCHEMA, ids_of, plain, row, write
from tests.writing.crash_child import Dying
from tfpetastorm.errors import DatasetError, DatasetWarning

OLD = list(range(7))
NEW = list(range(100, 125))
#: More than any mode takes; the surplus lives on and shows that all steps were tried.
STEPS = 40


def killed_at_every_step(tmp_path: Path, mode: str, before: str) -> list[tuple[Path, bool]]:
    """One folder for each step at which a writer was killed, and one at which it was not."""
    folders = [tmp_path / f"step{i:02d}" for i in range(STEPS)]
    for folder in folders:
        if before == "ours":
            write(folder, range(7), file_rows=4)
        elif before == "plain":
            for i in OLD:
                plain(folder / f"{i}.parquet", id=[i])
    command = [sys.executable, "-m", "tests.writing.crash_child", mode, *map(str, folders)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment())
    died = [line == "1" for line in ran.stdout.split()]
    assert len(died) == STEPS
    assert not died[-1]
    first_to_live = died.index(False)
    assert first_to_live > 8
    assert not any(died[first_to_live:])
    return list(zip(folders, died, strict=True))[: first_to_live + 1]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}


def quiet_ids(path: Path) -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        return ids_of(path)


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_killed_over_an_earlier_dataset(tmp_path: Path, mode: str) -> None:
    after = OLD + NEW if mode == "append" else NEW
    folders = killed_at_every_step(tmp_path, mode, "ours")
    seen = [quiet_ids(folder) for folder, _ in folders]
    # The old dataset up to one step, the new one from there on.
    commit = seen.index(after)
    assert seen == [OLD] * commit + [after] * (len(seen) - commit)
    assert commit > 0
    for folder, _ in folders:
        recovered(folder, quiet_ids(folder))


def test_killed_over_plain_parquet(tmp_path: Path) -> None:
    folders = killed_at_every_step(tmp_path, "overwrite", "plain")
    seen = [quiet_ids(folder) for folder, _ in folders]
    commit = seen.index(NEW)
    assert seen == [OLD] * commit + [NEW] * (len(seen) - commit)
    for folder, _ in folders[commit:]:
        recovered(folder, NEW)


def test_killed_in_a_new_dataset(tmp_path: Path) -> None:
    whole = []
    for folder, died in killed_at_every_step(tmp_path, "error", "nothing"):
        try:
            tps.open_dataset(folder)
            whole.append(True)
        except DatasetError:
            whole.append(False)
        if whole[-1]:
            assert ids_of(folder) == NEW
            continue
        assert died
        with pytest.raises(DatasetError, match=r"never finished|no Parquet|there is no"):
            tps.open_dataset(folder)
        # What is there is taken for no dataset by a new writer either.
        write(folder, range(3))
        assert ids_of(folder) == [0, 1, 2]
        assert len(list(folder.rglob("*"))) == 2
    assert whole == sorted(whole)
    assert whole[-1]


def recovered(folder: Path, ids: list[int]) -> None:
    """The next writer succeeds and leaves only what belongs to the dataset, for other readers too."""
    write(folder, range(200, 203), mode="append")
    assert ids_of(folder) == [*ids, 200, 201, 202]
    files = {Path(file.path) for file in tps.open_dataset(folder).files}
    assert set(folder.rglob("*")) == files | {folder / "_common_metadata"}
    assert sorted(pq.read_table(folder, columns=["id"]).column("id").to_pylist()) == sorted([*ids, 200, 201, 202])


def test_a_living_writer_is_not_cleaned_up(tmp_path: Path) -> None:
    write(tmp_path, range(7))
    with tps.DatasetWriter(tmp_path, SCHEMA, mode="append", row_group_rows=1) as living:
        living.write(row(7))
        other = tps.DatasetWriter(tmp_path, SCHEMA, mode="append")
        other.abort()
    assert ids_of(tmp_path) == list(range(8))


class Interrupted(Dying):
    """The local filesystem, on which the user presses Ctrl-C once, just before step `left` + 1."""

    def step(self) -> None:
        self.left -= 1
        if self.left == -1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("mode", ["error", "append", "overwrite"])
def test_interrupted_at_any_step(tmp_path: Path, mode: Any) -> None:
    before, after = ([], NEW) if mode == "error" else (OLD, OLD + NEW if mode == "append" else NEW)
    seen: list[list[int]] = []
    for steps in range(STEPS):
        folder = tmp_path / str(steps)
        if mode != "error":
            write(folder, range(7), file_rows=4)
        filesystem = Interrupted()
        filesystem.left = steps
        with contextlib.suppress(KeyboardInterrupt):
            write(folder, range(100, 125), mode=mode, file_rows=10, filesystem=filesystem)
        seen.append(quiet_ids(folder) if (folder / "_common_metadata").exists() else [])
        if filesystem.left >= 0:
            break
    # What was committed stays so, whatever is left to delete.
    at = seen.index(after)
    assert seen == [before] * at + [after] * (len(seen) - at)
    assert 0 < at < len(seen) - 1


def test_killed_from_outside_while_encoding_in_threads(tmp_path: Path) -> None:
    write(tmp_path, range(7))
    script = (
        "import sys, tfpetastorm as tps; from tests.storage.helpers import SCHEMA, row\n"
        "writer = tps.DatasetWriter(sys.argv[1], SCHEMA, mode='append', row_group_rows=100, file_rows=500)\n"
        "i = 0\n"
        "while True:\n"
        "    writer.write(row(i)); i += 1\n"
        "    if i == 3000: print('ready', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment()
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.1)
        child.send_signal(signal.SIGKILL)
    assert any(path.name.startswith(".tfpetastorm-") for path in tmp_path.iterdir())
    assert ids_of(tmp_path) == OLD
    recovered(tmp_path, OLD)

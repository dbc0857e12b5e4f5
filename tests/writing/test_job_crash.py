"""Writers and committers of a job killed at any step: the earlier dataset stays, and the job can go on."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

import tfpetastorm as tps
from tests.storage.helpers import Counting, ids_of, write
from tests.writing.jobs import age, begin, left_over, part_of, signs_of
from tests.writing.test_crash import OLD, environment, quiet_ids
from tfpetastorm.errors import DatasetError, DatasetWarning

FIRST = list(range(100, 110))
SECOND = list(range(110, 120))
#: More than either takes; the surplus lives on and shows that all steps were tried.
STEPS = {"worker": 8, "commit": 40}

Job = tuple[Path, tps.ParallelWrite, list[tps.WrittenPart]]


def options_of(kind: str) -> dict[str, Any]:
    """What is no local filesystem has files under their own names from the beginning."""
    return {"filesystem": pafs.PyFileSystem(Counting())} if kind == "store" else {}


def killed_at_every_step(tmp_path: Path, what: str, mode: Any, kind: str) -> list[Job]:
    """Jobs of which one process was killed at each step, and one of which none was."""
    jobs: list[Job] = []
    for i in range(STEPS[what]):
        folder = tmp_path / f"step{i:02d}"
        write(folder, range(7), file_rows=4)
        job = begin(str(folder), mode=mode, file_rows=4, **options_of(kind))
        parts = [part_of(job, 0, FIRST)]
        if what == "commit":
            parts.append(part_of(job, 1, SECOND))
        Path(f"{folder}.job").write_text(job.to_json())
        Path(f"{folder}.parts").write_text(json.dumps([part.to_json() for part in parts]))
        jobs.append((folder, job, parts))
    command = [
        sys.executable,
        "-m",
        "tests.writing.job_crash_child",
        what,
        kind,
        *(str(folder) for folder, _, _ in jobs),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment())
    died = [line == "1" for line in ran.stdout.split()]
    assert len(died) == len(jobs)
    first_to_live = died.index(False)
    assert first_to_live > 4
    assert not any(died[first_to_live:])
    return jobs[: first_to_live + 1]


@pytest.mark.parametrize(("kind", "mode"), [("local", "append"), ("local", "overwrite"), ("store", "overwrite")])
@pytest.mark.parametrize("then", ["again", "abort", "another"])
def test_a_commit_killed_at_any_step(tmp_path: Path, kind: str, mode: str, then: str) -> None:
    old, new = OLD, (OLD if mode == "append" else []) + FIRST + SECOND
    seen = []
    for folder, job, parts in killed_at_every_step(tmp_path, "commit", mode, kind):
        seen.append(quiet_ids(folder))
        if then == "again":
            job.commit(parts)
            assert ids_of(folder) == new
        elif then == "abort":
            if seen[-1] == old and [*folder.glob(".tfpetastorm-*/attempt.json")]:
                # Nobody knows whether it still lives.
                with pytest.raises(DatasetError, match="is under way, or was cut short"):
                    job.abort()
                age(folder, 1)
            job.abort()
            assert ids_of(folder) == seen[-1]
        else:
            if signs_of(folder):
                age(folder, 25)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DatasetWarning)
                write(folder, range(7, 8), mode="append", **options_of(kind))
            assert ids_of(folder) == [*seen[-1], 7]
        assert left_over(folder, folders=kind == "local") == set()
    # The old dataset up to one step, the new one from there on.
    at = seen.index(new)
    assert seen == [old] * at + [new] * (len(seen) - at)
    assert 0 < at < len(seen) - 1


@pytest.mark.parametrize("kind", ["local", "store"])
def test_a_writer_killed_at_any_step(tmp_path: Path, kind: str) -> None:
    for i, (folder, job, parts) in enumerate(killed_at_every_step(tmp_path, "worker", "append", kind)):
        assert quiet_ids(folder) == OLD
        if i % 2:
            job.commit([*parts, part_of(job, 1, SECOND)])
            assert ids_of(folder) == OLD + FIRST + SECOND
        else:
            age(folder, 25)
            write(folder, range(7, 8), mode="append", **options_of(kind))
            assert ids_of(folder) == [*OLD, 7]
            with pytest.raises(DatasetError, match="is over"):
                job.commit(parts)
        assert left_over(folder, folders=kind == "local") == set()

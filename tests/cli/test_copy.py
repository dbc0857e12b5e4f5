"""`tfpetastorm copy`, run as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tfpetastorm.cli import main


@pytest.fixture
def source(tmp_path: Path) -> Path:
    schema = tps.Unischema(
        "Small",
        [
            tps.UnischemaField("id", np.int64),
            tps.UnischemaField("name", np.str_, nullable=True),
            tps.UnischemaField("points", np.float32, (None, 2), tps.NdarrayCodec()),
        ],
    )
    with tps.DatasetWriter(tmp_path / "source", schema, row_group_rows=10, workers=0) as writer:
        for i in range(60):
            points = np.full((i % 4, 2), i, np.float32)
            writer.write({"id": i, "name": None if i % 3 == 0 else f"n{i}", "points": points})
    return tmp_path / "source"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def table(path: Path) -> dict[str, list[object]]:
    stored = tps.open_dataset(path)
    return pq.ParquetFile(stored.files[0].path).read().to_pydict() if stored.files else {}


def test_a_whole_copy(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("copy", source, tmp_path / "copy") == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == (f"{tmp_path}/copy: 60 rows in 6 row groups, 1 file\n", "")
    assert table(tmp_path / "copy") == table(source)


def test_options_are_passed_on(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--fields", "id,name", "--where", "id >= 5", "--where", "id < 50", "--not-null-fields", "name"]
    options += ["--row-group-rows", "4", "--compression", "zstd", "--rows-per-file", "12"]
    assert run("copy", source, tmp_path / "copy", *options) == 0
    assert ": 30 of 60 rows in 8 row groups, 3 files" in capsys.readouterr().out
    copy = tps.open_dataset(tmp_path / "copy")
    assert list(copy.schema.fields) == ["id", "name"]
    assert table(tmp_path / "copy")["id"] == [i for i in range(5, 50) if i % 3][:12]
    assert {copy.file_metadata(i).row_group(0).column(0).compression for i in range(3)} == {"ZSTD"}


def test_petastorms_options_are_understood(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What its users' scripts pass, `--overwrite` cut short as argparse lets them."""
    assert run("copy", source.as_uri(), (tmp_path / "copy").as_uri()) == 0
    options = ["--overwrite", "--field-regex", "i.", "po.+", "--not-null-fields", "name", "--partition-count", "2"]
    options += ["--row-group-size-mb", "1", "--hdfs-driver", "libhdfs", "--master", "local[1]"]
    assert run("copy", source.as_uri(), (tmp_path / "copy").as_uri(), *options) == 0
    copy = tps.open_dataset(tmp_path / "copy")
    assert (list(copy.schema.fields), copy.num_rows, len(copy.files)) == (["id", "points"], 40, 2)
    told = capsys.readouterr().err
    assert "warning: --hdfs-driver has no effect" in told
    assert "warning: --master has no effect" in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fields", "nmae"], "Did you mean 'name'?"),
        (["--where", "idd > 3"], "Did you mean 'id'?"),
        (["--rows-per-file", "3", "--partition-count", "3"], "Give one of them"),
    ],
)
def test_errors_are_one_line(
    options: list[str], told: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("copy", source, tmp_path / "copy", *options) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "copy").exists()


def test_an_existing_copy_stays(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("copy", source, tmp_path / "copy", "--where", "id < 3") == 0
    assert run("copy", source, tmp_path / "copy") == 2
    assert "already exists" in capsys.readouterr().err
    assert tps.open_dataset(tmp_path / "copy").num_rows == 3


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_leaves_no_half_dataset(source: Path, tmp_path: Path) -> None:
    big, target = tmp_path / "big", tmp_path / "copy"
    schema = tps.Unischema("Big", [tps.UnischemaField(f"x{i}", np.int64) for i in range(40)])
    with tps.DatasetWriter(big, schema, row_group_rows=1, workers=0) as writer:
        writer.write_batch({f"x{i}": np.arange(3000) for i in range(40)})
    command = [sys.executable, "-m", "tfpetastorm", "copy", big, target]
    # A process started in the background ignores the signal, and so would its children.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        until = time.monotonic() + 60
        while not any(target.rglob("*.parquet")) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, "", "")
    assert not target.exists()


def test_info_counts_columns_named_like_members_of_structs(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The copy of plain Parquet has `pair.a` as a column of its own, where the source had a struct."""
    for url in (golden / "petastorm-0.13.1/plain", tmp_path / "copy"):
        if not url.exists():
            assert run("copy", golden / "petastorm-0.13.1/plain", url) == 0
        capsys.readouterr()
        assert run("info", url) == 0
        [line] = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["pair.a"]]
        assert " 0 B" not in line
        assert " 40 " not in line, "none of its cells is null"

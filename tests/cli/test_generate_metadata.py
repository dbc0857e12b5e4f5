"""`tfpetastorm generate-metadata`, run as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tfpetastorm.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dataset(dataset_path: Path) -> Path:
    schema = tps.Unischema(
        "Small", [tps.UnischemaField("id", np.int64), tps.UnischemaField("x", np.float32, (3,), tps.NdarrayCodec())]
    )
    with tps.DatasetWriter(dataset_path, schema, row_group_rows=5, workers=0) as writer:
        for i in range(12):
            writer.write({"id": i, "x": np.full(3, i, np.float32)})
    return dataset_path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["generate-metadata", *(str(argument) for argument in arguments)])
    return status, *capsys.readouterr()


def test_a_schema_from_the_users_own_module(dataset: Path, tmp_path: Path) -> None:
    """The module lies in the working folder; what the dataset names is never imported."""
    (dataset / "_common_metadata").unlink()
    (tmp_path / "my_schemas.py").write_text(
        "import numpy as np\nimport tfpetastorm as tps\n"
        "class Schemas:\n"
        "    MINE = tps.Unischema('Mine', [tps.UnischemaField('id', np.int64),\n"
        "        tps.UnischemaField('x', np.float32, (3,), tps.NdarrayCodec())])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for option in ("--unischema", "--unischema_class"):
        command = ["generate-metadata", str(dataset), option, "my_schemas.Schemas.MINE"]
        # As the console script does it: without the working folder on the path.
        code = f"import sys; sys.path[:] = sys.path[1:]; from tfpetastorm.cli import main; sys.exit(main({command}))"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            f"{dataset}: 2 fields, 1 file, 3 row groups, 12 rows; the schema given; petastorm can read it\n"
        )
    assert tps.open_dataset(dataset).schema.fields["x"].shape == (3,)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_such_module.NAME", "no module"),
        ("tfpetastorm.errors.Bogus", "has no Bogus"),
        ("tfpetastorm.errors.Place", "should be a Unischema"),
        ("plain", "package.module.NAME"),
    ],
)
def test_a_name_that_is_no_schema(name: str, told: str, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (dataset / "_common_metadata").read_bytes()
    status, _, error = run(capsys, dataset, "--unischema", name)
    assert status == 2
    assert told in error
    assert (dataset / "_common_metadata").read_bytes() == before


def test_petastorms_own_schema(golden: Path, dataset_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(golden / "petastorm-0.13.1/types", dataset_path)
    status, out, error = run(capsys, dataset_path, "--master", "local[1]")
    assert status == 0
    assert "24 fields, 4 files, 12 row groups, 60 rows; petastorm's schema, read without unpickling" in out
    assert "--master has no effect" in error
    assert tps.open_dataset(dataset_path).kind == "tfpetastorm"


def test_check_tells_and_repair_mends(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, error = run(capsys, dataset, "--check")
    assert (status, error) == (0, "")
    assert out.endswith("No problems.\n")
    assert "12 of 12 rows" in out
    assert "✗" not in out
    (dataset / "._common_metadata.crc").write_bytes(b"crc\0stale")
    status, out, _ = run(capsys, dataset, "--check")
    assert status == 1
    assert "--repair mends it" in out
    assert out.endswith("1 problem\n")
    status, out, _ = run(capsys, dataset, "--repair")
    assert status == 0
    assert "mended ._common_metadata.crc was removed" in out
    assert run(capsys, dataset, "--check", "--rows", 3)[0] == 0


def test_what_is_left_after_a_repair_is_told_to_programs_too(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [file] = dataset.glob("*.parquet")
    shutil.copy(file, dataset / "extra.parquet")
    status, out, _ = run(capsys, dataset, "--repair", "--json")
    report = json.loads(out)
    assert (status, report["sound"], report["mended"]) == (1, False, [])
    assert [finding["aspect"] for finding in report["findings"]] == ["files"]
    status, out, _ = run(capsys, dataset, "--repair", "--adopt-unlisted", "--json")
    assert (status, json.loads(out)["mended"]) == (0, ["added to the list: extra.parquet"])


def test_options_that_write_do_not_go_with_a_check(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, error = run(capsys, dataset, "--check", "--no-petastorm")
    assert status == 2
    assert "--check and --repair take a dataset as it is" in error


def test_without_petastorms_keys_and_with_a_summary(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, dataset, "--no-petastorm", "--use-summary-metadata")
    assert status == 0
    assert "petastorm can't read it" in out
    assert not any(
        key.startswith(b"dataset-toolkit") for key in pq.read_metadata(dataset / "_common_metadata").metadata
    )
    assert pq.read_metadata(dataset / "_metadata").num_row_groups == 3

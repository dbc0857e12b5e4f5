"""`tfpetastorm shuffle-quality`, run as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tfpetastorm.cli import main
from tfpetastorm.cli.shuffle_quality import compare

ROWS, GROUP = 8000, 200


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """8,000 rows of 8 and 100 bytes in 40 row groups."""
    path = tmp_path_factory.mktemp("quality") / "table.parquet"
    ids = np.arange(ROWS)
    wide = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(ROWS * 25, np.float32)), 25)
    pq.write_table(pa.table({"id": ids, "wide": wide}), path, row_group_size=GROUP)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*arguments: object):
        capsys.readouterr()
        status = main(["shuffle-quality", *(str(argument) for argument in arguments)])
        return (status, *capsys.readouterr())

    return call


def trials(run, *arguments):
    status, out, err = run(*arguments, "--json", "--seed", 7)
    assert (status, err) == (0, "")
    found = json.loads(out)
    return found, found["trials"]


def test_what_is_told_is_what_make_dataset_does(run, table: Path) -> None:
    """The numbers are those of the rows that come out, in the batches in which they come."""
    found, [groups, mixed] = trials(run, table, "--block-rows", "0,1000", "--batch-size", 64, "--epochs", 2)
    assert (found["rows"], found["row_groups"], found["measured"]) == (ROWS, ROWS // GROUP, ROWS)
    for trial, shuffle in ((groups, tps.Shuffle(rows=False)), (mixed, tps.Shuffle(block_rows=1000))):
        dataset = tps.make_dataset(table, fields=["id"], batch_size=64, shuffle=shuffle, seed=7, epochs=2)
        batches = [batch["id"].numpy() for batch in dataset]
        half = len(batches) // 2
        together, correlation, met = [], [], []
        for epoch in (batches[:half], batches[half:]):
            batch_of = np.empty(ROWS, np.int64)
            for number, ids in enumerate(epoch):
                batch_of[ids] = number
            together.append((np.diff(batch_of) == 0).mean())
            correlation.append(abs(np.corrcoef(np.arange(ROWS), np.concatenate(epoch))[0, 1]))
            met.append(np.mean([len({*(ids // GROUP)}) for ids in epoch]))
        assert trial["together"] == pytest.approx(np.mean(together))
        assert trial["correlation"] == pytest.approx(np.mean(correlation))
        assert trial["row_groups"] == pytest.approx(np.mean(met))


def test_without_blocks_some_are_compared_up_to_all_rows(run, table: Path) -> None:
    found, tried = trials(run, table)
    assert [trial["block_rows"] for trial in tried] == [0, ROWS // 16, ROWS // 4, ROWS]
    together = [trial["together"] for trial in tried]
    assert together == sorted(together, reverse=True)
    assert together[-1] == pytest.approx(found["perfect"]["together"], rel=0.2)
    assert tried[-1]["name"].endswith("(default)")
    # About five times the rows' 108 bytes.
    assert tried[-1]["memory"] == 5 * ROWS * 108
    assert tried[0]["memory"] == 0


def test_blocks_in_bytes_depend_on_the_fields(run, table: Path) -> None:
    _, [one, two] = trials(run, table, "--block-bytes", "27k", "--block-bytes", "108_000")
    # 256 rows, but 32 blocks of the same size are of 250.
    assert (one["block_rows"], two["block_rows"]) == (250, 1000)
    _, [narrow] = trials(run, table, "--block-bytes", "8k", "--fields", "id")
    assert narrow["block_rows"] == 1000


def test_the_default_block_of_larger_rows(run, tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    rows = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(150 * 250_000, np.float32)), 250_000)
    pq.write_table(pa.table({"x": rows}), path, row_group_size=10)
    found, tried = trials(run, path, "--batch-size", 10)
    assert [trial["block_rows"] for trial in tried] == [0, 12, 50, 150]
    assert "50 rows" in tried[2]["name"]
    assert tried[2]["name"].endswith("(default)")
    assert tried[3]["memory"] > found["budget"] > tried[2]["memory"]
    status, out, _ = run(path, "--batch-size", 10)
    assert status == 0
    assert out.count("MB*") == 1
    assert "more than the default budget of 536.9 MB" in out


def test_a_table_and_pictures_in_the_terminal(run, table: Path) -> None:
    status, out, err = run(table, "--block-rows", 0, "--block-rows", "400,8000", "--seed", 1, "--batch-size", 100)
    assert (status, err) == (0, "")
    assert "8,000 rows in 40 row groups; batches of 100; mean of 3 epochs, seed 1" in out
    rows = {line.split("  ")[0].strip(): line.split() for line in out.splitlines() if line.startswith(" ")}
    assert rows["row groups only"][-1] == "1.0"
    assert rows["row groups only"][-2] == "80.0"
    assert float(rows["all rows, 864.0 kB (default)"][-2]) < 1.3
    assert rows["a perfect shuffle"][-2] == "1.0"
    drawn = [line[2:] for line in out.splitlines() if set(line) & set("░▒▓█")]
    assert len(drawn) == 12
    # Unmixed row groups leave most of the square empty, a full shuffle nothing.
    wide = drawn[0].rindex(drawn[0].split()[-1])
    assert sum(line[:24].count(" ") for line in drawn) > 12 * 12
    assert not any(" " in line[wide:] for line in drawn)


def test_a_picture(run, table: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "quality.png"
    assert run(table, "--out", picture, "--seed", 1)[0] == 0
    image = cv2.imread(str(picture))
    assert image.shape[1] > 900
    # The four squares stand side by side; ink covers more of each than of the one before.
    blue = (image[:, :, 0].astype(int) - image[:, :, 2] > 20)[80:-80]
    ink = [int(part.sum()) for part in np.array_split(blue, 4, axis=1)]
    assert ink[0] > 100
    assert ink[0] < ink[1] < ink[2] < ink[3]
    for wrong in (tmp_path / "no" / "a.png", tmp_path / "a.xyz"):
        status, _, err = run(table, "--out", wrong)
        assert status == 2
        assert "can't be written" in err


def test_without_matplotlib_the_extra_is_named(run, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, _, err = run(table, "--out", "a.png")
    assert status == 2
    assert "pip install 'tfpetastorm[plots]'" in err
    assert run(table)[0] == 0


def test_a_sample_of_many_rows_says_much_the_same(table: Path) -> None:
    stored = tps.open_dataset(table)
    shuffles = [tps.Shuffle(rows=False), tps.Shuffle(block_rows=1000)]
    whole = compare(stored, shuffles, seed=1, batch=20, epochs=8)
    part = compare(stored, shuffles, seed=1, batch=20, epochs=8, most=2000)
    assert part.measured <= 2000 < whole.measured == ROWS
    for one, other in zip(part.trials, whole.trials, strict=True):
        assert one.quality.together == pytest.approx(other.quality.together, rel=0.2)
        assert one.quality.row_groups == pytest.approx(other.quality.row_groups, rel=0.1)


def test_blocks_that_are_too_large_to_permute(table: Path) -> None:
    stored = tps.open_dataset(table)
    assert max(trial.block_rows for trial in compare(stored, [], seed=1, largest=2000).trials) == 2000
    with pytest.raises(tps.TfpetastormError, match="4,000 rows is too large to look at; 2,000 are the most"):
        compare(stored, [tps.Shuffle(block_rows=4000)], largest=2000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--block-rows", "many"], "--block-rows takes whole numbers"),
        (["--block-rows", "-5"], "--block-rows takes whole numbers"),
        (["--block-bytes", "16X"], "--block-bytes takes whole numbers"),
        (["--block-bytes", "0"], "block_bytes"),
        (["--fields", "nothing"], "nothing"),
    ],
)
def test_what_cannot_work(run, table: Path, arguments, message) -> None:
    status, out, err = run(table, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("tfpetastorm: error:")
    assert message in err


def test_a_dataset_without_rows_or_with_one(run, tmp_path: Path) -> None:
    path = tmp_path / "few.parquet"
    pq.write_table(pa.table({"id": pa.array([], pa.int64())}), path)
    status, _, err = run(path)
    assert status == 2
    assert "no rows" in err
    pq.write_table(pa.table({"id": [1]}), path)
    status, out, _ = run(path)
    assert status == 0
    assert "1 rows in 1 row groups" in out


def test_tensorflow_is_not_loaded(table: Path) -> None:
    code = (
        "import sys; from tfpetastorm.cli import main\n"
        f"assert main(['shuffle-quality', {str(table)!r}]) == 0\n"
        "assert not {'tensorflow', 'keras', 'matplotlib'} & {*sys.modules}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)

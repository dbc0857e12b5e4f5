"""Real strategies: the rows that training really saw, and what each worker read for them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.distribute.cluster import free_ports, run

#: Uneven, and no multiple of any batch: rows of the row groups of the files.
LAYOUT = [[17, 20, 3, 20, 20], [20, 20, 1, 19, 20, 20, 14]]
ROWS, GROUPS = sum(map(sum, LAYOUT)), sum(map(len, LAYOUT))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("distributed")
    start = 0
    for part, sizes in enumerate(LAYOUT):
        schema = pa.schema([("id", pa.int64()), ("x", pa.float32()), ("y", pa.float32())])
        with pq.ParquetWriter(folder / f"part-{part}.parquet", schema) as writer:
            for size in sizes:
                ids = np.arange(start, start + size)
                x = (ids / ROWS).astype(np.float32)
                writer.write_table(pa.table({"id": ids, "x": x, "y": 3 * x - 1}, schema=schema))
                start += size
    return str(folder)


def check_epochs(results: list[Any], batch_size: int, even: str) -> None:
    """Every epoch: the same steps everywhere, and the rows that `even` promises."""
    for result in results:
        assert [len(epoch) for epoch in result["epochs"]] == [result["steps"]] * len(result["epochs"])
    for parts in zip(*(result["epochs"] for result in results), strict=True):
        assert [*map(len, parts[0])] == [*map(len, parts[1])], "steps of unequal size"
        assert all(step for part in parts for step in part), "a step without rows"
        seen = Counter(i for part in parts for step in part for i in step)
        if even == "repeat":
            assert set(seen) == set(range(ROWS))
            assert sum(seen.values()) - ROWS < len(parts) * batch_size
        else:
            assert max(seen.values()) == 1, "a row came twice"
            assert ROWS - len(seen) < len(parts) * batch_size


def members(result: Any, epoch: int) -> set[int]:
    return {i for step in result["epochs"][epoch] for i in step}


@pytest.mark.parametrize(
    ("batch_size", "even", "drop_remainder", "shuffle", "one_pass"),
    [(10, "drop", False, True, False), (14, "repeat", False, True, True), (32, "drop", True, False, False)],
)
def test_fit_of_two_workers_sees_every_row_it_should(
    url: str, tmp_path: Path, batch_size: int, even: str, drop_remainder: bool, shuffle: bool, one_pass: bool
) -> None:
    options = {"url": url, "batch_size": batch_size, "even": even, "drop_remainder": drop_remainder, "epochs": 2}
    results = run("fit_program.py", tmp_path, {**options, "shuffle": shuffle, "one_pass": one_pass}, workers=2)
    check_epochs(results, batch_size, even)
    for result in results:
        # TensorFlow would believe a cardinality, and count twice as large batches in it.
        assert (result["cardinality"], result["policy"]) == (-2, "OFF")
    assert results[0]["steps"] == results[1]["steps"]
    assert results[0]["loss"] == results[1]["loss"]
    assert results[0]["slope"] == results[1]["slope"]
    sizes = {len(step) for result in results for epoch in result["epochs"] for step in epoch}
    assert max(sizes) == batch_size // 2
    if drop_remainder:
        assert sizes == {batch_size // 2}
    if shuffle:
        assert members(results[0], 0) != members(results[0], 1)
    # Together they read each row group once an epoch, but for the blocks at the borders.
    groups = sum(result["row_groups"] for result in results)
    assert groups <= 2 * (GROUPS + 6), "each worker read too much"

    # Validation, after each epoch: each row counts once, and padding not at all.
    tested = [result["tested"] for result in results]
    assert [len(steps) for steps in tested] == [2 * result["validation_steps"] for result in results]
    assert all(step for steps in tested for step in steps), "a step without rows"
    once = Counter(i for steps in tested for step in steps for i, weight in step if weight == 1.0)
    assert once == Counter(dict.fromkeys(range(ROWS), 2))
    assert {weight for steps in tested for step in steps for _, weight in step} <= {0.0, 1.0}
    assert sum(result["tested_row_groups"] for result in results) <= 2 * (GROUPS + 3)
    x = np.arange(ROWS) / ROWS
    error = np.abs(results[0]["slope"] * x + results[0]["intercept"] - (3 * x - 1)).mean()
    assert results[0]["val_mae"][-1] == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize(
    ("batch_size", "even", "drop_remainder", "chief"), [(8, "drop", False, False), (10, "repeat", True, True)]
)
def test_a_loop_of_two_workers_sees_every_row_it_should(
    url: str, tmp_path: Path, batch_size: int, even: str, drop_remainder: bool, chief: bool
) -> None:
    options = {"url": url, "batch_size": batch_size, "even": even, "drop_remainder": drop_remainder, "epochs": 2}
    results = run("loop_program.py", tmp_path, {**options, "shuffle": True}, workers=2, chief=chief)
    check_epochs(results, batch_size, even)
    for worker, result in enumerate(results):
        # What "auto" makes of the strategy is what TensorFlow itself tells a dataset function.
        assert result["choices"] == [[worker, 2, 1, False], [worker, 2, 1, True]]
    expected = sum(i for result in results for epoch in result["epochs"] for step in epoch for i in step) / ROWS
    assert [result["total"] for result in results] == pytest.approx([expected, expected], rel=1e-4)
    assert members(results[0], 0) != members(results[0], 1)
    assert sum(result["row_groups"] for result in results) <= 2 * (GROUPS + 6)


def test_mirrored_replicas_see_every_row(url: str, tmp_path: Path) -> None:
    (result,) = run("mirrored_program.py", tmp_path, {"url": url, "batch_size": 16, "epochs": 2})
    assert result["replicas"] == 2
    fit = result["fit"]
    assert fit["steps"] == fit["cardinality"] == -(-ROWS // 16)
    assert len(fit["trained"]) == 2 * 2 * fit["steps"], "two epochs of two replicas"
    assert Counter(i for part in fit["trained"] for i in part) == Counter(dict.fromkeys(range(ROWS), 2))
    assert Counter(i for part in fit["tested"] for i in part) == Counter(dict.fromkeys(range(ROWS), 2))
    for even in ("drop", "pad", "repeat"):
        steps = result[even]["seen"]
        assert len(steps) == result[even]["steps"]
        assert all(len(step) == 2 and len(step[0]) == len(step[1]) <= 8 for step in steps)
        real = Counter(i for step in steps for part in step for i, mask in part if mask)
        if even == "pad":
            assert real == Counter(range(ROWS))
        elif even == "repeat":
            assert set(real) == set(range(ROWS))
            assert sum(real.values()) < ROWS + 16
        else:
            assert max(real.values()) == 1
            assert ROWS - len(real) < 16


def test_parameter_servers_are_refused(url: str, tmp_path: Path) -> None:
    (said,) = run("servers_program.py", tmp_path, {"url": url})
    for text in said.values():
        assert text.startswith("OptionError: ParameterServerStrategy")
        assert "MultiWorkerMirroredStrategy" in text


@pytest.mark.parametrize("made_one_too", [False, True])
def test_a_service_worker_of_another_process_gives_an_error_and_no_other_rows(
    url: str, tmp_path: Path, made_one_too: bool
) -> None:
    options = {"url": url, "own": url if made_one_too else ""}
    (result,) = run("remote_worker_program.py", tmp_path, options)
    assert result["rows"] == []
    assert ("another process" if made_one_too else "Could not find callback with key=pyfunc") in result["error"]


def test_a_worker_that_fails_or_hangs_is_shown_with_all_it_said(tmp_path: Path) -> None:
    """The harness itself: it has to fail, soon, and leave nothing running."""
    with pytest.raises(AssertionError, match=r"(?s)worker \d ended with 1.*unexpected keyword argument 'wrong'"):
        run("loop_program.py", tmp_path, {"wrong": 1}, workers=2)
    with pytest.raises(AssertionError, match="not done after 0 s: worker 0 is still running"):
        run("loop_program.py", tmp_path / "hangs", {"wrong": 1}, workers=2, seconds=0.1)


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20

"""`tfpetastorm throughput`, and petastorm's `reader_throughput` over what it measures with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import tfpetastorm as tps
from tfpetastorm.benchmark.cli import _main as petastorms_command
from tfpetastorm.benchmark.throughput import ReadMethod, WorkerPoolType, _time_warmup_and_work, reader_throughput
from tfpetastorm.cli import main
from tfpetastorm.cli.throughput import measure
from tfpetastorm.cli.usage import Watch
from tfpetastorm.errors import SchemaError
from tfpetastorm.predicates import in_lambda


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("throughput") / "d"
    schema = tps.Unischema(
        "Things",
        [
            tps.UnischemaField("id", np.int64),
            tps.UnischemaField("image", np.uint8, (40, 50, 3), tps.CompressedImageCodec("png")),
            tps.UnischemaField("label", np.int32, nullable=True),
        ],
    )
    random = np.random.default_rng(0)
    with tps.DatasetWriter(folder, schema, row_group_rows=16) as writer:
        for i in range(100):
            image = random.integers(0, 255, (40, 50, 3), np.uint8)
            writer.write({"id": i, "image": image, "label": None if i % 4 else i})
    return folder


@pytest.mark.parametrize("pool", ["thread", "process", "inline"])
@pytest.mark.parametrize("method", ["make_dataset", "make_reader", "make_batch_reader"])
def test_every_method_and_pool(method: str, pool: str, url: Path) -> None:
    others = len(psutil.Process().children(recursive=True))
    started = time.perf_counter()
    found = measure(url, method=method, pool=pool, workers=2, warmup_cycles=3, measure_cycles=40, batch_size=10)
    elapsed = time.perf_counter() - started
    assert (found.warmup_cycles, found.cycles) == (3, 40)
    if method != "make_batch_reader":
        assert found.rows == (400 if method == "make_dataset" else 40)
    assert 0 < found.seconds < elapsed
    assert found.rows_per_second == found.rows / found.seconds
    assert 0 <= found.wait_seconds <= found.seconds
    # Workers are ahead, so what was read while measuring need not be what was taken.
    assert set(found.stages) == {"fetch", "decode", "transform"}
    assert found.stages["transform"] == 0
    if method != "make_reader":
        assert found.stages["decode"] > 0
        assert found.stages["fetch"] > 0
        assert found.bytes_fetched > 0
    assert found.usage.own_rss > 10_000_000
    if pool == "process":
        # Beside processes that other tests of this one keep running.
        assert found.usage.workers == 2 + others
        assert found.usage.workers_rss is not None
        assert found.usage.workers_rss > 20_000_000


def test_fields_that_are_not_asked_for_are_not_decoded(url: Path) -> None:
    def cost(fields: list[str]) -> tuple[float, float]:
        found = measure(url, method="make_batch_reader", fields=fields, pool="inline", measure_cycles=70)
        return found.bytes_fetched / found.rows, found.stages["decode"] / found.rows

    with_images, without = cost(["id", "image"]), cost(["id"])
    assert with_images[0] > 100 * without[0]
    assert with_images[1] > without[1]


def test_time_ends_a_measurement_too(url: Path) -> None:
    found = measure(url, method="make_reader", warmup_cycles=0, measure_cycles=10**9, seconds=0.2, fields=["id"])
    assert 0.2 <= found.seconds < 2
    assert found.cycles == found.rows > 64


def test_memory_at_most_and_time_of_the_cpu_are_seen() -> None:
    with Watch() as watch:
        held = np.ones(30_000_000)
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
        del held
    with Watch() as after:
        time.sleep(0.01)
    assert watch.usage.own_rss > after.usage.own_rss + 200_000_000
    assert 0.3 <= watch.usage.cpu_seconds < 3
    assert after.usage.cpu_seconds < 0.2


def test_a_process_of_another_child_is_counted() -> None:
    code = "import time; x = b'1' * 60_000_000; print(1, flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        with Watch() as watch:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.2)
        assert watch.usage.workers_rss is not None
        assert watch.usage.workers_rss > 60_000_000
    finally:
        child.kill()
        child.communicate()


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["throughput", *(str(argument) for argument in arguments)])
    return status, *capsys.readouterr()


def test_the_command_shows_stages_and_bars(url: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, error = run(capsys, url, "--method", "make_batch_reader", "-m", "3", "-n", "200", "-w", "2")
    assert (status, error) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "make_batch_reader, 2 threads" in lines["read"]
    assert "200 batches in" in lines["measured"]
    assert lines["measured"].endswith("after 3")
    for stage in ("fetch", "decode", "transform", "wait", "take"):
        assert lines[stage].endswith("%")
    assert "█" in lines["wait"] or "█" in lines["take"]
    assert "%" in lines["CPU"]
    assert re.search(r"[MG]B at most", lines["memory"])


def test_petastorms_options_and_json(url: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--field-regex", "i.", "lab.*", "-p", "dummy", "--workers-count", "1", "--warmup-cycles", "0"]
    options += ["--where", "label != null", "--measure-cycles", "50", "--method", "make_reader", "--json"]
    status, out, _ = run(capsys, url, *options)
    found = json.loads(out)
    assert status == 0
    assert (found["pool"], found["cycles"], found["rows"], found["warmup_cycles"]) == ("inline", 50, 50, 0)
    assert found["rows_per_second"] == pytest.approx(found["rows"] / found["seconds"])


def test_mistakes_are_one_line(url: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--fields", "imagee"], ["--where", "idd > 3"]):
        status, _, error = run(capsys, url, "--method", "make_reader", *options)
        assert status == 2
        assert error.count("\n") == 1


def test_tensorflow_is_loaded_for_make_dataset_only(url: Path) -> None:
    code = (
        "import sys\nfrom tfpetastorm.cli import main\n"
        f"assert main(['throughput', {str(url)!r}, '--method', 'make_reader', '-n', '5', '-m', '0']) == 0\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- petastorm's names


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("method", list(ReadMethod))
def test_reader_throughput(method: ReadMethod, new: bool, url: Path) -> None:
    found = reader_throughput(
        url.as_uri(), ["i.*"], warmup_cycles_count=5, measure_cycles_count=20, pool_type=WorkerPoolType.THREAD,
        loaders_count=1, read_method=method, spawn_new_process=new,
    )  # fmt: skip
    assert found.samples_per_second == pytest.approx(1 / found.time_mean)
    assert found.memory_info.rss > 10_000_000
    assert found.cpu >= 0


def test_arguments_reach_the_new_process(url: Path) -> None:
    wanted = [3, 5]
    extra = {"predicate": in_lambda(["id"], lambda number: number in wanted)}
    found = reader_throughput(url, ["id"], 2, 4, WorkerPoolType.NONE, reader_extra_args=extra)
    assert found.samples_per_second > 0
    with pytest.raises(SchemaError, match="bogus"):
        reader_throughput(url, ["bogus"], 2, 4, WorkerPoolType.NONE)


def test_cycles_are_counted() -> None:
    calls: list[int] = []
    found = _time_warmup_and_work(None, 6, 7, lambda: (calls.append(1), time.sleep(0.01)))
    assert len(calls) == 13
    assert found.time_mean >= 0.01


def test_profiling_threads_is_gone(url: Path) -> None:
    with pytest.warns(DeprecationWarning, match="tfpetastorm throughput"):
        reader_throughput(url, ["id"], 1, 1, profile_threads=True, spawn_new_process=False)


def test_petastorms_command(url: Path, capsys: pytest.CaptureFixture[str]) -> None:
    petastorms_command([url.as_uri(), "--field-regex", "id", "-m", "3", "-n", "5", "-p", "dummy", "-d", "python"])
    assert "samples/sec" in capsys.readouterr().out

"""Several writers, one dataset: any split of the rows gives what one writer gives, and all count at once or none."""

from __future__ import annotations

import contextlib
import json
import pickle
import random
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

import tfpetastorm as tps
from tests.storage.helpers import SCHEMA, ids_of, row, write
from tests.writing.jobs import age, begin, fill, fill_and_die, left_over, part_of, rows_of
from tfpetastorm.errors import (
    DatasetError,
    DatasetExistsError,
    DatasetWarning,
    EncodeError,
    OptionError,
    PoolError,
    SchemaMismatchError,
)
from tfpetastorm.stores.filesystem import resolve
from tfpetastorm.writing.adopt import adopt_files
from tfpetastorm.writing.job_commit import JobCommit

BY_PART = tps.Unischema(
    "ByPart",
    [
        tps.UnischemaField("id", np.int64),
        tps.UnischemaField("part", np.str_),
        tps.UnischemaField("day", np.int32),
        tps.UnischemaField("name", np.str_, (), None, True),
        tps.UnischemaField("points", np.float32, (None, 2), tps.NdarrayCodec()),
        tps.UnischemaField("tags", np.str_, (None,), None, True),
    ],
)


def wide(i: int, part: str = "a") -> dict[str, Any]:
    return {**row(i), "part": part, "day": i % 2, "tags": None if i % 5 == 0 else ["x"] * (i % 3)}


@given(
    split=st.lists(st.lists(st.sampled_from("ab:"), max_size=6), max_size=4),
    folders=st.sampled_from([[], ["part"], ["part", "day"]]),
    group=st.one_of(st.none(), st.integers(1, 4)),
    file=st.one_of(st.none(), st.integers(1, 5)),
    mode=st.sampled_from(["error", "append", "overwrite"]),
    store=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_split_of_the_rows_gives_what_one_writer_gives(
    tmp_path_factory: pytest.TempPathFactory,
    split: list[list[str]],
    folders: list[str],
    group: int | None,
    file: int | None,
    mode: Any,
    store: bool,
    seed: int,
) -> None:
    root = tmp_path_factory.mktemp("law")
    options: dict[str, Any] = {"partition_by": folders, "row_group_rows": group, "file_rows": file}
    filesystem = pafs.SubTreeFileSystem(str(root), pafs.LocalFileSystem()) if store else None
    one, several = root / "one", root / "several"
    for path in (one, several) if mode != "error" else ():
        with tps.DatasetWriter(path, BY_PART, partition_by=folders, workers=0) as writer:
            for i in range(3):
                writer.write(wide(1000 + i))
    ids = iter(range(10_000))
    rows = [[wide(next(ids), part) for part in parts] for parts in split]
    with tps.DatasetWriter(one, BY_PART, mode=mode, workers=0, **options) as writer:
        for given_rows in rows:
            for given_row in given_rows:
                writer.write(given_row)

    chance = random.Random(seed)
    job = begin("several" if store else several, BY_PART, mode=mode, filesystem=filesystem, **options)
    parts = []
    for index in chance.sample(range(len(rows)), len(rows)):
        job = tps.ParallelWrite.from_json(job.to_json(), filesystem=filesystem)
        if chance.random() < 0.3:  # tried in vain, or twice
            failed = job.writer(index, workers=0)
            for given_row in rows[index]:
                failed.write(given_row)
            failed.close() if chance.random() < 0.5 else failed.abort()
        with job.writer(index, workers=0) as worker:
            half = len(rows[index]) // 2
            for given_row in rows[index][:half]:
                worker.write(given_row)
            worker.write_batch({name: [one[name] for one in rows[index][half:]] for name in BY_PART.fields})
        parts.append(tps.WrittenPart.from_json(worker.written.to_json()))
    pickle.loads(pickle.dumps(job)).commit(parts)

    assert rows_of(several) == rows_of(one)
    # Stores have no folders that could be left.
    assert left_over(several, folders=not store) == set()
    assert tps.open_dataset(several).schema == tps.open_dataset(one).schema


def test_nothing_counts_before_the_commit(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    job = begin(tmp_path, mode="overwrite")
    parts = [part_of(job, 1, range(10, 12)), part_of(job, 0, range(5))]
    assert ids_of(tmp_path) == [0, 1, 2]
    job.commit(parts)
    assert ids_of(tmp_path) == [0, 1, 2, 3, 4, 10, 11]
    assert left_over(tmp_path) == set()


def test_a_new_dataset_is_none_before_the_commit(tmp_path: Path) -> None:
    job = begin(tmp_path / "new")
    part_of(job, 0, range(3))
    with pytest.raises(DatasetError, match="never finished"):
        tps.open_dataset(tmp_path / "new")
    job.abort()
    assert not (tmp_path / "new").exists()


def test_a_job_without_rows_makes_an_empty_dataset(tmp_path: Path) -> None:
    job = begin(tmp_path / "d")
    empty = part_of(job, 3, [])
    job.commit([empty])
    assert tps.open_dataset(tmp_path / "d").num_rows == 0
    job.commit([empty])


def test_a_job_and_its_parts_are_small_and_the_same_wherever_they_go(tmp_path: Path) -> None:
    job = begin(tmp_path / "d", partition_by=["name"], row_group_rows=np.int64(2), lease_hours=3)
    part = part_of(job, 7, [1, 2, 1, 2])
    assert [(file.rows, file.row_groups) for file in part.files] == [(2, 1), (2, 1)]
    assert part.rows == 4
    for sent in (pickle.loads(pickle.dumps(job)), tps.ParallelWrite.from_json(job.to_json())):
        assert sent == job
        assert sent.to_json() == job.to_json()
    for told in (pickle.loads(pickle.dumps(part)), tps.WrittenPart.from_json(part.to_json())):
        assert told == part
    assert len(part.to_json()) < 200 + 120 * len(part.files)
    assert sum((tmp_path / "d").glob(f".*/{file.name}").__next__().stat().st_size == file.size for file in part.files)
    job.abort()


def test_a_relative_path_means_the_same_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    job = begin("d")
    monkeypatch.chdir(tmp_path / "elsewhere")
    job.commit([part_of(job, 0, [4])])
    assert ids_of(tmp_path / "d") == [4]


def test_a_job_as_text_shows_no_credentials(tmp_path: Path) -> None:
    job = begin(tmp_path / "d")
    stored = json.loads(job.to_json())
    stored["url"] = "s3://KEYKEY:SECRET@bucket/d?region=x&session_token=TOKEN"
    elsewhere = tps.ParallelWrite.from_json(json.dumps(stored))
    for shown in (repr(elsewhere), str(elsewhere), f"{elsewhere!r}"):
        assert job.token in shown
        assert not any(secret in shown for secret in ("KEYKEY", "SECRET", "TOKEN"))
    with pytest.raises(OptionError) as caught:
        tps.ParallelWrite.from_json(json.dumps({**stored, "version": 9}))
    assert "SECRET" not in str(caught.value)
    job.abort()


def test_map_writes_in_processes_in_the_order_of_tasks(tmp_path: Path) -> None:
    with begin(tmp_path / "d", file_rows=4) as job:
        job.commit(job.map(fill, [range(9), range(9, 9), range(9, 20)], processes=2))
    assert ids_of(tmp_path / "d") == list(range(20))
    assert left_over(tmp_path / "d") == set()


def test_what_a_process_raises_is_raised_and_the_dataset_stays(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    with pytest.raises(EncodeError, match="row 0"), begin(tmp_path, mode="append") as job:
        job.commit(job.map(fill_nonsense, [0], processes=1))
    with pytest.raises(PoolError, match="died"), begin(tmp_path, mode="append") as job:
        job.commit(job.map(fill_and_die, [[1], [3]], processes=1))
    assert ids_of(tmp_path) == [0, 1, 2]
    assert left_over(tmp_path) == set()


def fill_nonsense(writer: Any, task: int) -> None:
    writer.write({**row(task), "id": "nonsense"})


def test_a_writer_that_is_killed_can_be_replaced(tmp_path: Path) -> None:
    job = begin(tmp_path / "d", row_group_rows=1)
    with pytest.raises(PoolError, match="died"):
        job.map(fill_and_die, [[3, 4, 5]], processes=1)
    assert any((tmp_path / "d").glob(".tfpetastorm-*/part-*"))
    job.commit([part_of(job, 1, [7]), part_of(job, 0, [3, 4, 5])])
    assert ids_of(tmp_path / "d") == [3, 4, 5, 7]
    assert left_over(tmp_path / "d") == set()


def test_a_commit_can_be_tried_again(tmp_path: Path) -> None:
    job = begin(tmp_path)
    parts = [part_of(job, 0, range(3)), part_of(job, 1, range(3, 5))]
    job.commit(parts)
    job.commit([*parts, *reversed(parts)])
    write(tmp_path, range(5, 6), mode="append")
    job.commit(parts)
    assert ids_of(tmp_path) == list(range(6))
    with pytest.raises(DatasetError, match="committed already, with other parts"):
        job.commit(parts[:1])
    job.abort()
    assert ids_of(tmp_path) == list(range(6))


def test_two_writers_of_an_index_are_not_both_taken(tmp_path: Path) -> None:
    job = begin(tmp_path)
    first, second = part_of(job, 4, [1]), part_of(job, 4, [1, 2])
    with pytest.raises(OptionError, match=r"two writers of index 4.*with 1 rows.*with 2"):
        job.commit([first, second])
    job.commit([second])
    assert ids_of(tmp_path) == [1, 2]
    assert left_over(tmp_path) == set()


def test_only_what_was_written_for_this_job_is_taken(tmp_path: Path) -> None:
    job, other = begin(tmp_path / "a"), begin(tmp_path / "b")
    part = part_of(other, 0, [1])
    with pytest.raises(OptionError, match="another job"):
        job.commit([part])
    with pytest.raises(OptionError, match="takes what writers"):
        job.commit([part.to_json()])  # type: ignore[list-item]
    mine = part_of(job, 0, [1])
    for name in ("../b/x.parquet", "/etc/x", mine.files[0].name.replace("000000-", "000001-", 1), "x"):
        stored = json.loads(mine.to_json())
        stored["files"][0][0] = name
        with pytest.raises(DatasetError, match="doesn't make"):
            job.commit([tps.WrittenPart.from_json(json.dumps(stored))])
    job.abort()
    other.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "found no such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "as its writer left it.*bytes, found"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4] + b"XXXX"), "no Parquet file, or truncated"),
    ],
)
def test_files_are_looked_at_before_they_count(tmp_path: Path, change: Any, message: str) -> None:
    write(tmp_path, range(2))
    job = begin(tmp_path, mode="append")
    parts = [part_of(job, 0, [5]), part_of(job, 1, [6])]
    change(next(tmp_path.glob(f".tfpetastorm-*/{parts[1].files[0].name}")))
    with pytest.raises(DatasetError, match=message) as caught:
        job.commit(parts)
    assert parts[1].files[0].name in str(caught.value)
    assert ids_of(tmp_path) == [0, 1]
    # The job is as open as before.
    job.commit([parts[0], part_of(job, 1, [6])])
    assert ids_of(tmp_path) == [0, 1, 5, 6]
    assert left_over(tmp_path) == set()


def test_rows_that_a_part_counts_wrongly_are_noticed(tmp_path: Path) -> None:
    job = begin(tmp_path)
    part = part_of(job, 0, [5])
    stored = json.loads(part.to_json())
    stored["files"][0][3] = 2
    with pytest.raises(DatasetError, match="expected 2 rows in 1 row groups, found 1 rows in 1"):
        job.commit([tps.WrittenPart.from_json(json.dumps(stored))])


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_another_writers_commit_is_not_lost(tmp_path: Path, mode: Any) -> None:
    write(tmp_path, range(2))
    job, late = begin(tmp_path, mode=mode), begin(tmp_path, mode=mode)
    part, late_part = part_of(job, 0, [5]), part_of(late, 0, [6])
    write(tmp_path, range(2, 4), mode="append")
    with pytest.raises(DatasetError, match="another writer has changed the dataset since this job began"):
        job.commit([part])
    job.abort()
    assert ids_of(tmp_path) == [0, 1, 2, 3]
    with pytest.raises(DatasetError, match="another writer"):
        late.commit([late_part])
    late.abort()
    assert left_over(tmp_path) == set()


def test_a_writer_is_refused_by_a_job_that_committed_meanwhile(tmp_path: Path) -> None:
    write(tmp_path, range(2))
    single = tps.DatasetWriter(tmp_path, SCHEMA, mode="append", workers=0)
    single.write(row(9))
    job = begin(tmp_path, mode="append")
    job.commit([part_of(job, 0, [5])])
    with pytest.raises(DatasetError, match="another writer"):
        single.close()
    assert ids_of(tmp_path) == [0, 1, 5]
    assert left_over(tmp_path) == set()


@pytest.mark.parametrize("store", [False, True])
def test_an_aborted_writer_deletes_its_files_at_once(tmp_path: Path, store: bool) -> None:
    filesystem = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()) if store else None
    job = begin("d" if store else tmp_path / "d", filesystem=filesystem, row_group_rows=1, file_rows=1)
    before = {path for path in (tmp_path / "d").rglob("*") if path.is_file()}
    with pytest.raises(ZeroDivisionError), job.writer(0, workers=0) as writer:
        writer.write_batch({name: [row(1)[name], row(2)[name]] for name in SCHEMA.fields})
        assert len(list((tmp_path / "d").rglob("part-*"))) == 2
        _ = 1 / 0
    assert {path for path in (tmp_path / "d").rglob("*") if path.is_file()} == before
    job.abort()


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("end", ["commit", "abort", "lease"])
def test_a_writer_that_outlives_its_job_fails_and_leaves_nothing(tmp_path: Path, end: str, store: bool) -> None:
    write(tmp_path / "d", range(2))
    # What is no local filesystem has files under their own names.
    filesystem = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()) if store else None
    job = begin("d" if store else tmp_path / "d", mode="append", filesystem=filesystem, row_group_rows=1, file_rows=1)
    part = part_of(job, 0, [5])
    late = job.writer(1, workers=0)
    late.write(row(6))
    if end == "commit":
        job.commit([part])
    elif end == "abort":
        job.abort()
    else:
        age(tmp_path / "d", 25)
        write(tmp_path / "d", range(5, 6), mode="append")
    with pytest.raises(DatasetError, match="this job of several writers is over"):
        late.write(row(7))
        late.close()
    late.abort()
    with pytest.raises(DatasetError, match="is aborted"):
        _ = late.written
    with pytest.raises(DatasetError, match="is over"):
        job.writer(2)
    assert ids_of(tmp_path / "d") == [0, 1, *([5] if end != "abort" else [])]
    assert left_over(tmp_path / "d") == set()
    if end != "commit":
        with pytest.raises(DatasetError, match="is over"):
            job.commit([part])


@pytest.mark.parametrize("store", [False, True])
def test_later_writers_clean_up_after_dead_jobs_only(tmp_path: Path, store: bool) -> None:
    write(tmp_path / "d", range(2))
    filesystem = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()) if store else None
    url: Any = "d" if store else tmp_path / "d"
    job = begin(url, mode="append", filesystem=filesystem, lease_hours=10)
    parts = [part_of(job, 0, [5])]
    with pytest.raises(PoolError):
        job.map(fill_and_die, [[3]], processes=1)
    with quiet():
        age(tmp_path / "d", 9.9)
        write(url, range(2, 3), mode="append", filesystem=filesystem)
        assert left_over(tmp_path / "d")
        age(tmp_path / "d", 10.1)
        # Whoever gives a sign of life is not dead.
        with job.writer(7):
            write(url, range(3, 4), mode="append", filesystem=filesystem)
        assert left_over(tmp_path / "d")
        age(tmp_path / "d", 10.1)
        write(url, range(4, 5), mode="append", filesystem=filesystem)
    assert ids_of(tmp_path / "d") == list(range(5))
    assert left_over(tmp_path / "d") == set()
    with pytest.raises(DatasetError, match="is over"):
        job.commit(parts)


def test_an_open_writer_gives_signs_of_life(tmp_path: Path) -> None:
    job = begin(tmp_path, lease_hours=1e-4)
    with job.writer(0, workers=0) as writer:
        (sign,) = tmp_path.glob(f".tfpetastorm-{job.token}/alive-*")
        age(tmp_path, 1)
        old = sign.stat().st_mtime
        deadline = time.monotonic() + 60
        while sign.stat().st_mtime == old and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sign.stat().st_mtime > old + 3000
        writer.write(row(1))
    job.abort()


def test_a_commit_and_an_abort_at_the_same_time_are_refused(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    job = begin(tmp_path)
    part = part_of(job, 0, [1])
    with (tmp_path / f".tfpetastorm-{job.token}" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for call in (lambda: job.commit([part]), job.abort):
            with pytest.raises(DatasetError, match="another process is committing or aborting"):
                call()
        age(tmp_path, 30)
        with tps.DatasetWriter(tmp_path, SCHEMA):
            assert (tmp_path / f".tfpetastorm-{job.token}").exists()


def test_arguments_that_cannot_work(tmp_path: Path) -> None:
    write(tmp_path / "d", range(2))
    with pytest.raises(DatasetExistsError):
        begin(tmp_path / "d")
    with pytest.raises(OptionError, match="mode='append' and a dataset"):
        begin(tmp_path / "new", None)
    with pytest.raises(SchemaMismatchError):
        begin(tmp_path / "d", BY_PART, mode="append")
    with pytest.raises(OptionError, match="row_group_rows=0"):
        begin(tmp_path / "new", row_group_rows=0)
    for hours in (0, -1, float("nan"), float("inf")):
        with pytest.raises(OptionError, match="lease_hours"):
            begin(tmp_path / "new", lease_hours=hours)
    filesystem = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    job = begin("new", filesystem=filesystem)
    with pytest.raises(OptionError, match="needs filesystem="):
        tps.ParallelWrite.from_json(job.to_json())
    for index in (-1, 1_000_000):
        with pytest.raises(OptionError, match="none of 0 to 999,999"):
            job.writer(index)
    for text in ("", "{}", "[]", '{"version": 2}'):
        with pytest.raises(OptionError, match="to_json"):
            tps.ParallelWrite.from_json(text)
        with pytest.raises(OptionError, match="to_json"):
            tps.WrittenPart.from_json(text)
    with job.writer(0) as writer, pytest.raises(DatasetError, match="writer 0 of new is open"):
        _ = writer.written
    job.abort()
    assert {path.name for path in tmp_path.iterdir()} - {"new"} == {"d"}


@pytest.mark.parametrize(
    "names",
    [
        ["part-00000-c000.parquet", "part-00001-c000.parquet"],  # Spark's numbers have five digits
        ["part-00000-c000.parquet", "part-000001-x.parquet"],
        ["part-0.parquet", "part-10.parquet", "part-2.parquet"],
        ["part-99998.parquet", "part-99999.parquet"],
        ["part-999999.parquet"],
        ["first.parquet", "part-3.parquet"],
        ["a.parquet", "b.parquet"],
    ],
)
def test_appended_files_sort_behind_those_of_other_programs(tmp_path: Path, names: list[str]) -> None:
    names = sorted(names)
    write(tmp_path, range(len(names)), file_rows=1)
    for name, file in zip(names, tps.open_dataset(tmp_path).files, strict=True):
        Path(file.path).rename(tmp_path / name)
    adopt_files(resolve(tmp_path), SCHEMA)
    total = len(names)
    for _ in range(2):
        write(tmp_path, range(total, total + 12), mode="append", file_rows=1)
        job = begin(tmp_path, mode="append")
        job.commit([part_of(job, 1, [total + 13]), part_of(job, 0, [total + 12])])
        total += 14
    assert ids_of(tmp_path) == list(range(total))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """On what is no local filesystem, unlisted files are warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        yield


@pytest.mark.parametrize("index", [1.5, "1", None, True, -1, 1_000_000])
def test_what_is_no_index(tmp_path: Path, index: Any) -> None:
    with begin(tmp_path) as job, pytest.raises(OptionError, match="index="):
        job.writer(index)


def test_a_commit_that_another_process_finishes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = begin(tmp_path)
    parts = [part_of(job, 0, range(3))]
    hold = JobCommit.hold

    def held(commit: JobCommit) -> None:
        monkeypatch.setattr(JobCommit, "hold", hold)
        job.commit(parts)
        commit.hold()

    monkeypatch.setattr(JobCommit, "hold", held)
    job.commit(parts)
    assert ids_of(tmp_path) == [0, 1, 2]
    assert not left_over(tmp_path)


def test_commits_of_the_same_parts_that_overlap_on_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"filesystem": MemoryFileSystem()}
    job = begin("overlapping", **place)
    parts = [part_of(job, 0, range(3))]
    publish = JobCommit._publish

    def published(commit: JobCommit, old: list[str]) -> None:
        monkeypatch.setattr(JobCommit, "_publish", publish)
        job.commit(parts)
        publish(commit, old)

    monkeypatch.setattr(JobCommit, "_publish", published)
    job.commit(parts)
    assert ids_of("overlapping", **place) == [0, 1, 2]


@pytest.mark.parametrize("processes", [0, -1])
def test_no_processes(tmp_path: Path, processes: int) -> None:
    with begin(tmp_path) as job, pytest.raises(OptionError, match="processes="):
        job.map(fill, [range(3)], processes=processes)


@pytest.mark.parametrize("scheme", ["memory", "ram"])
def test_no_processes_where_only_this_one_can_write(scheme: str) -> None:
    with (
        begin(f"{scheme}://a-process/of-its-own", mode="overwrite") as job,
        pytest.raises(PoolError, match="other processes can't write there"),
    ):
        job.map(fill, [range(3)], processes=1)

"""Jobs of several writers on a store: begun, written and committed by processes that share nothing but the job."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from typing import Any

import pyarrow.fs as pafs
import pytest

import tfpetastorm as tps
from benchmarks.s3_server import S3Server
from tests.storage.helpers import SCHEMA, ids_of, row
from tests.writing.jobs import begin, fill, fill_and_die, part_of
from tfpetastorm.errors import DatasetError, PoolError, StoreError

Place = tuple[str, dict[str, Any]]


@pytest.fixture(params=["pyarrow URL", "pyarrow", "fsspec"])
def place(s3: S3Server, request: pytest.FixtureRequest) -> Place:
    """A dataset's URL and how to reach it."""
    if request.param == "pyarrow URL":
        return s3.url("sets/d"), {}
    return "data/sets/d", {"filesystem": s3.filesystem() if request.param == "pyarrow" else s3.fsspec()}


def objects(s3: S3Server) -> set[str]:
    found = s3.filesystem().get_file_info(pafs.FileSelector("data/sets/d", recursive=True, allow_not_found=True))
    return {info.path.removeprefix("data/sets/d/") for info in found if info.type == pafs.FileType.File}


def only_the_dataset(s3: S3Server, place: Place) -> bool:
    url, options = place
    listed = {file.name for file in tps.open_dataset(url, **options).files}
    return objects(s3) == {*listed, "_common_metadata"}


def test_processes_write_and_another_commits(s3: S3Server, place: Place) -> None:
    url, options = place
    for mode, first in (("error", 0), ("append", 20)):
        job = begin(url, mode=mode, file_rows=4, **options)
        parts = job.map(fill, [range(first, first + 9), range(0), range(first + 9, first + 20)], processes=2)
        # Tried in vain.
        part_of(job, 2, range(50))
        pickle.loads(pickle.dumps(job)).commit(parts)
        assert ids_of(url, **options) == list(range(first + 20))
        assert only_the_dataset(s3, place)
        job.commit(parts)
    with begin(url, mode="overwrite", **options) as job:
        job.commit([part_of(job, 0, [7])])
    assert ids_of(url, **options) == [7]
    assert only_the_dataset(s3, place)


def test_a_job_that_is_aborted_leaves_nothing(s3: S3Server, place: Place) -> None:
    url, options = place
    with begin(url, row_group_rows=1, **options) as job:
        part_of(job, 0, range(5))
        late = job.writer(1, workers=0)
        late.write_batch({name: [row(1)[name]] for name in SCHEMA.fields})
        assert objects(s3)
    with pytest.raises(DatasetError, match="this job of several writers is over"):
        late.close()
    assert objects(s3) == set()


def test_a_later_writer_cleans_up_after_a_dead_job(s3: S3Server, place: Place) -> None:
    url, options = place
    with tps.DatasetWriter(url, SCHEMA, **options) as writer:
        fill(writer, range(3))
    living = begin(url, mode="append", lease_hours=24, **options)
    part = part_of(living, 0, [3])
    # Last: any writer that begins after it may take it for dead.
    dead = begin(url, mode="append", lease_hours=1e-9, **options)
    with pytest.raises(PoolError):
        dead.map(fill_and_die, [[3]], processes=1)
    assert any(dead.token in name for name in objects(s3))
    # S3 tells times in seconds.
    deadline = time.monotonic() + 60
    while any(dead.token in name for name in objects(s3)) and time.monotonic() < deadline:
        tps.DatasetWriter(url, SCHEMA, mode="append", **options).abort()
    assert not any(dead.token in name for name in objects(s3))
    living.commit([part])
    assert ids_of(url, **options) == [0, 1, 2, 3]
    assert only_the_dataset(s3, place)
    with pytest.raises(DatasetError, match="is over"):
        dead.commit([])


def test_a_store_that_fails_in_passing(s3: S3Server, place: Place) -> None:
    url, options = place
    s3.faults(fail_every=7)
    job = begin(url, file_rows=2, **options)
    job.commit([part_of(job, 1, [3, 4, 5]), part_of(job, 0, range(3))])
    s3.reset()
    assert ids_of(url, **options) == list(range(6))
    assert only_the_dataset(s3, place)


def test_a_commit_that_fails_can_be_tried_again(s3: S3Server) -> None:
    # A client that gives up at once.
    options = {"filesystem": s3.filesystem(retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=1))}
    job = begin("data/sets/d", **options)
    parts = [part_of(job, 0, range(3))]
    s3.faults(fail_every=1, match="_common_metadata", methods=["PUT"])
    with pytest.raises(StoreError, match="503"):
        job.commit(parts)
    s3.reset()
    with pytest.raises(DatasetError, match="never finished"):
        tps.open_dataset("data/sets/d", **options)
    job.commit(parts)
    assert ids_of("data/sets/d", **options) == [0, 1, 2]


def test_errors_and_texts_hold_no_credentials(s3: S3Server, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    url, options = place
    job = begin(url, **options)
    part = part_of(job, 0, [1])
    said = [repr(job), part.to_json(), repr(part), repr(job.writer(3))]
    for name in objects(s3):
        if name.endswith(".parquet"):
            s3.filesystem().delete_file(f"data/sets/d/{name}")
    for error in errors_of(job, part, s3):
        said += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
    out, err = capfd.readouterr()
    for text in (*said, out, err):
        assert s3.secret_key not in text
        assert s3.access_key not in text


def errors_of(job: tps.ParallelWrite, part: tps.WrittenPart, s3: S3Server) -> Iterator[BaseException]:
    with pytest.raises(DatasetError, match="found no such file") as caught:
        job.commit([part])
    yield caught.value
    with pytest.raises(PoolError) as died:
        job.map(fill_and_die, [[3]], processes=1)
    yield died.value
    s3.faults(fail_every=1, status="403 Forbidden", code="AccessDenied")
    with pytest.raises(StoreError) as refused:
        job.writer(5)
    yield refused.value
    s3.reset()
    job.abort()
    with pytest.raises(DatasetError, match="is over") as over:
        job.commit([part])
    yield over.value

"""The last step of a commit on a store: whatever happens in it, the dataset is the old or the new."""

from __future__ import annotations

import io
import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

import tfpetastorm as tps
from benchmarks.s3_server import S3Server
from tests.storage.helpers import SCHEMA, ids_of, row, write
from tests.writing.jobs import begin, part_of
from tfpetastorm.errors import DatasetError, DatasetWarning, StoreError
from tfpetastorm.petastorm.utils import add_to_dataset_metadata
from tfpetastorm.storage.metadata import read_common_metadata
from tfpetastorm.stores.patience import StoreHandler
from tfpetastorm.upkeep.metadata import generate_metadata

OLD, NEW = list(range(5)), list(range(5, 9))
PATH = "data/set"


class Meddled(StoreHandler):
    """pyarrow's client; `meddle` is called when the file of the last step is opened."""

    meddle: Callable[[], None] = staticmethod(lambda: None)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        stream = super().open_output_stream(path, metadata)
        if path.endswith("/_common_metadata"):
            self.meddle()
        return stream


def meddled(s3: S3Server, client: str, meddle: Callable[[], None]) -> Any:
    """A filesystem that calls `meddle` just before the metadata is uploaded."""
    if client == "pyarrow":
        handler = Meddled(s3.filesystem())
        handler.meddle = meddle  # type: ignore[method-assign]
        return pafs.PyFileSystem(handler)
    import s3fs

    class MeddledS3(s3fs.S3FileSystem):  # type: ignore[misc]
        def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            file = super()._open(path, mode, **options)
            if mode == "wb" and path.endswith("/_common_metadata"):
                meddle()
            return file

        async def _pipe_file(self, path: str, data: bytes, **options: Any) -> Any:
            if path.endswith("/_common_metadata"):
                meddle()
            return await super()._pipe_file(path, data, **options)

    return MeddledS3(**s3.storage_options(), skip_instance_cache=True)


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """Python raises KeyboardInterrupt, though what runs in a shell's background is begun without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def add(how: str, filesystem: Any, ids: list[int]) -> None:
    """Append or overwrite by one writer, or append by a job."""
    if how != "job":
        write(PATH, range(ids[0], ids[-1] + 1), mode=how, filesystem=filesystem)  # type: ignore[arg-type]
        return
    with begin(PATH, mode="append", filesystem=filesystem) as job:
        job.commit([part_of(job, 0, ids)])


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.parametrize("client", ["pyarrow", "s3fs"])
@pytest.mark.parametrize("how", ["append", "overwrite", "job"])
def test_interrupted_before_the_metadata_is_sent(s3: S3Server, client: str, how: str) -> None:
    write(PATH, range(5), filesystem=s3.filesystem())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        add(how, meddled(s3, client, interrupt), NEW)
    # It was sent whole. The interrupt may come while old files are deleted: those that stay are not listed.
    assert quiet_ids(s3) == (NEW if how == "overwrite" else OLD + NEW)


class Late(StoreHandler):
    """A client that gives up on the upload of the metadata, which the store completes when `land` is called."""

    def __init__(self, filesystem: Any) -> None:
        super().__init__(filesystem)
        self.armed = self.at_once = False
        self.late: tuple[str, bytes] | None = None

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        if self.armed and path.endswith("/_common_metadata"):
            return pa.PythonFile(Sent(self, path), mode="w")
        return super().open_output_stream(path, metadata)

    def land(self) -> None:
        assert self.late is not None
        with self.filesystem.open_output_stream(self.late[0]) as file:
            file.write(self.late[1])


class Sent(io.BytesIO):
    def __init__(self, client: Late, path: str) -> None:
        super().__init__()
        self.client, self.path = client, path

    def close(self) -> None:
        if not self.closed:
            self.client.late = self.path, self.getvalue()
            super().close()
            if self.client.at_once:
                self.client.land()
            raise PermissionError("the answer was lost")


@pytest.mark.parametrize("mode", ["append", "overwrite", "error"])
def test_an_upload_that_the_store_completes_later(s3: S3Server, mode: Any) -> None:
    if mode != "error":
        write(PATH, range(5), filesystem=s3.filesystem())  # type: ignore[arg-type]
    client = Late(s3.filesystem())
    writer = tps.DatasetWriter(PATH, SCHEMA, mode=mode, workers=0, filesystem=pafs.PyFileSystem(client))
    for i in NEW:
        writer.write(row(i))
    client.armed = True
    with pytest.raises(StoreError, match=r"not known whether .*the answer was lost.*Wait some minutes, then look"):
        writer.close()
    if mode != "error":
        assert quiet_ids(s3) == OLD
    else:
        with pytest.raises(DatasetError, match="never finished"):
            quiet_ids(s3)
    client.land()
    assert quiet_ids(s3) == (OLD + NEW if mode == "append" else NEW)


@pytest.mark.parametrize("then", ["it lands", "commit again", "another commit"])
def test_a_job_whose_commit_the_store_completes_later(s3: S3Server, then: str) -> None:
    write(PATH, range(5), filesystem=s3.filesystem())  # type: ignore[arg-type]
    client = Late(s3.filesystem())
    job = begin(PATH, mode="append", filesystem=pafs.PyFileSystem(client))
    parts = [part_of(job, 0, NEW)]
    client.armed = True
    with pytest.raises(StoreError, match="not known whether"), job:
        job.commit(parts)
    with pytest.raises(DatasetError, match="was cut short and may be completed"):
        job.abort()
    assert quiet_ids(s3) == OLD
    client.armed = False
    if then == "commit again":
        job.commit(parts)
        assert ids_of(PATH, filesystem=s3.filesystem()) == OLD + NEW
    elif then == "another commit":
        job.commit([part_of(job, 1, [77])])
        assert quiet_ids(s3) == [*OLD, 77]
    client.land()
    assert quiet_ids(s3) == OLD + NEW
    job.abort()  # of what is committed
    assert quiet_ids(s3) == OLD + NEW


def quiet_ids(s3: S3Server) -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        return ids_of(PATH, filesystem=s3.filesystem())


def test_what_was_sent_though_the_answer_was_lost_counts(s3: S3Server) -> None:
    write(PATH, range(5), filesystem=s3.filesystem())  # type: ignore[arg-type]
    client = Late(s3.filesystem())
    with tps.DatasetWriter(PATH, SCHEMA, mode="overwrite", workers=0, filesystem=pafs.PyFileSystem(client)) as writer:
        for i in NEW:
            writer.write(row(i))
        client.armed = True
        client.at_once = True
    assert ids_of(PATH, filesystem=s3.filesystem()) == NEW


def outcome(call: Callable[[], Any], said: list[str]) -> None:
    try:
        call()
        said.append("done")
    except DatasetError as error:
        said.append(str(error))


def at_once(*calls: Callable[[], Any]) -> list[str]:
    """What came of calls in threads: "done", or what was raised."""
    said: list[str] = []
    threads = [threading.Thread(target=outcome, args=(call, said)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


@pytest.mark.parametrize("client", ["pyarrow", "s3fs"])
@pytest.mark.parametrize("kind", ["jobs", "writers"])
def test_of_commits_at_the_same_time_one_succeeds(s3: S3Server, client: str, kind: str) -> None:
    filesystem = s3.filesystem() if client == "pyarrow" else s3.fsspec()
    write(PATH, range(5), filesystem=filesystem)  # type: ignore[arg-type]
    rows = 5
    for _ in range(2):
        calls = []
        for _ in range(2):
            if kind == "jobs":
                job = begin(PATH, mode="append", filesystem=filesystem)
                calls.append(partial(job.commit, [part_of(job, 0, [9])]))
            else:
                writer = tps.DatasetWriter(PATH, SCHEMA, mode="append", workers=0, filesystem=filesystem)
                writer.write(row(9))
                calls.append(writer.close)
        said = at_once(*calls)
        assert sorted("another writer has changed" in one for one in said) == [False, True], said
        assert said.count("done") == 1
        rows += 1
        assert len(quiet_ids(s3)) == rows
    assert not [name for name in names_of(s3) if name.startswith(".tfpetastorm-commit-")]


def names_of(s3: S3Server) -> list[str]:
    found = s3.filesystem().get_file_info(pafs.FileSelector(PATH, recursive=True))
    return [info.path.removeprefix(PATH + "/") for info in found]


def test_a_commit_waits_until_anothers_is_over(s3: S3Server) -> None:
    filesystem = s3.filesystem()
    write(PATH, range(5), filesystem=filesystem)  # type: ignore[arg-type]
    other = f"{PATH}/.tfpetastorm-commit-0123456789ab"
    with filesystem.open_output_stream(other) as file:
        file.write(b"1")
    assert ids_of(PATH, filesystem=filesystem) == OLD
    gone = threading.Timer(2, filesystem.delete_file, [other])
    gone.start()
    start = time.monotonic()
    write(PATH, range(5, 9), mode="append", filesystem=filesystem)  # type: ignore[arg-type]
    gone.join()
    assert time.monotonic() - start > 2
    assert ids_of(PATH, filesystem=filesystem) == OLD + NEW


def key_added(filesystem: Any) -> None:
    add_to_dataset_metadata(tps.open_dataset(PATH, filesystem=filesystem), "key", "value")


def metadata_generated(filesystem: Any) -> None:
    generate_metadata(PATH, filesystem=filesystem)


@pytest.mark.parametrize("client", ["pyarrow", "s3fs"])
@pytest.mark.parametrize("change", [key_added, metadata_generated])
def test_a_commit_that_meets_another_change_of_the_metadata(
    s3: S3Server, client: str, change: Callable[[Any], None]
) -> None:
    """The append begins while the change is being uploaded: it waits, and is not lost in silence."""
    write(PATH, range(5), filesystem=s3.filesystem())  # type: ignore[arg-type]
    said: list[str] = []
    append = partial(add, "append", s3.filesystem(), NEW)
    meeting = threading.Thread(target=outcome, args=(append, said))

    def meet() -> None:
        meeting.start()
        meeting.join(2)

    change(meddled(s3, client, meet))
    meeting.join()
    assert said[0] == "done" or "another writer has changed the dataset" in said[0]
    assert quiet_ids(s3) == OLD + (NEW if said[0] == "done" else [])
    if change is key_added:
        assert read_common_metadata(s3.filesystem(), f"{PATH}/_common_metadata").pairs[b"key"] == b"value"


@pytest.mark.parametrize("client", ["pyarrow", "s3fs"])
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15])
def test_an_abort_that_meets_a_commit_of_its_job(s3: S3Server, client: str, delay: float) -> None:
    filesystem = s3.filesystem() if client == "pyarrow" else s3.fsspec()
    write(PATH, range(5), filesystem=filesystem)  # type: ignore[arg-type]
    job = begin(PATH, mode="append", filesystem=filesystem)
    parts = [part_of(job, 0, NEW)]
    said: list[str] = []
    aborting = threading.Timer(delay, outcome, [pickle.loads(pickle.dumps(job)).abort, said])
    aborting.start()
    committed: list[str] = []
    outcome(partial(job.commit, parts), committed)
    aborting.join()
    assert quiet_ids(s3) == (OLD + NEW if committed == ["done"] else OLD), (said, committed)


def test_an_abort_between_the_last_look_and_the_last_step(s3: S3Server) -> None:
    write(PATH, range(5), filesystem=s3.filesystem())  # type: ignore[arg-type]
    said: list[str] = []
    told = begin(PATH, mode="append", filesystem=s3.filesystem())
    job = tps.ParallelWrite.from_json(
        told.to_json(), filesystem=meddled(s3, "pyarrow", lambda: outcome(told.abort, said))
    )
    job.commit([part_of(job, 0, NEW)])
    assert len(said) == 1
    assert "a commit of this job is under way" in said[0]
    assert ids_of(PATH, filesystem=s3.filesystem()) == OLD + NEW
    assert sorted(names_of(s3)) == ["_common_metadata", *sorted(n for n in names_of(s3) if n.endswith(".parquet"))]

"""A slow and failing store: what passes is tried again, what lasts is a StoreError that says what and where."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow.fs as pafs
import pytest

import tfpetastorm as tps
from benchmarks.s3_server import S3Server
from tests.object_store.test_datasets import Place, write
from tests.storage.helpers import ids_of
from tfpetastorm.errors import DatasetError, DatasetWarning, StoreError
from tfpetastorm.stores.patience import StoreHandler

#: Clients that don't try again by themselves, as far as they can be told: what is tested is ours.
CLIENTS = ["pyarrow", "s3fs"]


def place(s3: S3Server, client: str) -> Place:
    if client == "pyarrow":
        once = pafs.AwsStandardS3RetryStrategy(max_attempts=1)
        return "data/set", {"filesystem": s3.filesystem(retry_strategy=once)}
    return "data/set", {"filesystem": s3.fsspec(config_kwargs={"retries": {"max_attempts": 1}})}


@pytest.fixture(params=CLIENTS)
def where(request: pytest.FixtureRequest, s3: S3Server) -> Place:
    return place(s3, request.param)


@pytest.mark.parametrize("faults", [{"fail_every": 3}, {"cut_every": 3}])
def test_what_passes_is_not_noticed(s3: S3Server, where: Place, faults: dict[str, int]) -> None:
    url, options = where
    write(where, range(20), file_rows=10)
    s3.reset()
    s3.faults(**faults)
    with tps.make_reader(url, num_epochs=1, shuffle_row_groups=False, **options) as reader:
        assert [one.id for one in reader] == list(range(20))
    log = s3.counts().log
    assert sum(one.status in (0, 503) for one in log) > len(log) / 4


def test_a_folder_that_plays_the_root_is_as_patient(s3: S3Server) -> None:
    _, options = place(s3, "pyarrow")
    write((s3.url("set"), {}), range(20), file_rows=10)
    s3.faults(fail_every=5)
    below = pafs.SubTreeFileSystem("data", options["filesystem"])
    with tps.make_reader("set", num_epochs=1, filesystem=below) as reader:
        assert sorted(one.id for one in reader) == list(range(20))


def test_a_writer_of_pyarrows_usual_client_gets_through(s3: S3Server) -> None:
    s3.faults(fail_every=4)
    write((s3.url("set"), {}), range(20), file_rows=5)
    write((s3.url("set"), {}), range(20, 30), mode="append")
    s3.faults(cut_every=4)
    write((s3.url("set"), {}), range(30, 40), mode="append")
    s3.reset()
    assert ids_of(s3.url("set")) == list(range(40))


@pytest.mark.parametrize(
    ("match", "says"),
    [
        ("HEAD data/set", "It can't be told what is there"),
        ("GET data/set/_common_metadata", "footer can't be read"),
        ("GET data/set/part", "footer can't be read"),
        ("GET data", "can't be listed"),
    ],
)
@pytest.mark.parametrize("fault", ["fail_every", "cut_every"])
def test_what_lasts_is_an_error_of_the_store(s3: S3Server, match: str, says: str, fault: str) -> None:
    url, options = place(s3, "pyarrow")
    write((url, options), range(5))
    s3.faults(**{fault: 1}, match=match)
    with pytest.raises(StoreError, match=r"tried 5 times: .*data/set.*try again") as caught:
        tps.open_dataset(url, **options)
    assert says in str(caught.value) or "what is there" in str(caught.value)
    s3.faults()
    assert ids_of(url, **options) == list(range(5))


@pytest.mark.slow
def test_what_lasts_is_an_error_of_the_store_by_fsspec_too(s3: S3Server) -> None:
    url, options = place(s3, "s3fs")
    write((url, options), range(5))
    s3.faults(fail_every=1, match="GET data/set/part")
    with pytest.raises(StoreError, match=r"footer can't be read, tried .*data/set/part-"):
        tps.open_dataset(url, **options)


def test_a_refusal_is_told_at_once(s3: S3Server, where: Place) -> None:
    url, options = where
    write(where, range(5))
    s3.reset()
    s3.faults(fail_every=1, status="403 Forbidden", code="AccessDenied", match="data/set/part")
    with pytest.raises(StoreError, match=r"(?i)forbidden|denied"):
        tps.open_dataset(url, **options)
    assert len(s3.counts().of(match="set/part")) == 1


def test_what_no_trial_can_mend_is_told_at_once(s3: S3Server, where: Place) -> None:
    _, options = where
    for path in ("nosuchbucket/set", "No Bucket/set"):
        with pytest.raises(DatasetError) as caught:
            write((path, options), range(5))
        assert "tried" not in str(caught.value)


def test_a_whole_store_is_no_dataset(s3: S3Server, where: Place) -> None:
    _, options = where
    write(where, range(5))
    for path in ("s3://", "/"):
        with pytest.raises(DatasetError, match=r"can't list|folder of datasets"):
            tps.open_dataset(path, **options)


def test_a_store_that_fails_after_reading_only_costs_the_cache(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, options = place(s3, "pyarrow")
    write((url, options), range(5))
    dataset = tps.open_dataset(url, **options)

    def fails(*_: object) -> None:
        raise StoreError("It can't be told what is there.")

    monkeypatch.setattr(StoreHandler, "get_file_info", fails)
    made = tps.make_dataset(dataset, batch_size=5, fields=["id"], cache=tmp_path)
    assert [batch["id"].numpy().tolist() for batch in made] == [list(range(5))]


@pytest.mark.parametrize("match", ["part", "_common_metadata"])
@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_a_writer_that_can_not_write_leaves_the_earlier_dataset(s3: S3Server, match: str, mode: str) -> None:
    url, options = place(s3, "pyarrow")
    write((url, options), range(5))
    s3.faults(fail_every=1, match=f"data/set/{match}", methods=["PUT", "POST"])
    with pytest.raises(StoreError, match=rf"can't (write|be written|be opened|look).*{match}"):
        write((url, options), range(5, 9), mode=mode)
    s3.faults()
    # What was written stays where the store might complete the last step yet.
    unlisted = pytest.warns(DatasetWarning, match="left out") if match != "part" else contextlib.nullcontext()
    with unlisted:
        assert ids_of(url, **options) == list(range(5))


def test_a_dataset_that_is_replaced_meanwhile_is_noticed(s3: S3Server, where: Place) -> None:
    url, options = where
    write(where, range(20), row_group_rows=5)
    with tps.make_reader(url, num_epochs=None, reader_pool_type="dummy", **options) as reader:
        next(reader)
        write((s3.url("set"), {}), range(9), mode="overwrite")
        with pytest.raises(DatasetError, match=r"data/set/part-"):
            for _ in range(50):
                next(reader)

"""What is fetched of a dataset on a store: the chosen columns' bytes, counted at the server, and what is done when that
fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from benchmarks.s3_server import BUCKET, S3Server
from tfpetastorm.errors import DamagedDataError, DatasetChangedError, StoreError

COLUMNS = [f"c{i}" for i in range(12)]
ROWS = 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 columns of random float64, 4 MB in all, in two files of two row groups."""
    path = tmp_path_factory.mktemp("stored") / "set"
    schema = tps.Unischema("Wide", [tps.UnischemaField(name, np.float64) for name in COLUMNS])
    values = np.random.default_rng(1).random((len(COLUMNS), ROWS))
    with tps.DatasetWriter(path, schema, row_group_rows=5_000, file_rows=10_000) as writer:
        writer.write_batch(dict(zip(COLUMNS, values, strict=True)))
    return path


@pytest.fixture
def store(s3: S3Server, folder: Path) -> pafs.FileSystem:
    filesystem = s3.filesystem()
    pafs.copy_files(str(folder), f"{BUCKET}/set", destination_filesystem=filesystem)
    # The sidecar holds the footers, which then count for no epoch.
    tps.open_dataset(f"{BUCKET}/set", filesystem=filesystem, sidecar="always")
    s3.reset()
    return filesystem


def chunks(folder: Path, names: list[str]) -> int:
    """The compressed bytes of these columns."""
    total = 0
    for file in folder.glob("*.parquet"):
        metadata = pq.read_metadata(file)
        for i in range(metadata.num_row_groups):
            for j in range(metadata.num_columns):
                chunk = metadata.row_group(i).column(j)
                total += chunk.total_compressed_size if chunk.path_in_schema in names else 0
    return total


def read(filesystem: Any, **options: Any) -> dict[str, Any]:
    """All rows, by column."""
    dataset = tps.make_dataset(f"{BUCKET}/set", filesystem=filesystem, batch_size=1000, **options)
    batches = list(dataset.as_numpy_iterator())
    tps.close(dataset)
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


@pytest.mark.parametrize("pool", ["thread", "process", "inline"])
@pytest.mark.parametrize("names", [["c3"], ["c0", "c11"], ["c2", "c3", "c4", "c9"], COLUMNS[:11], COLUMNS])
def test_the_chosen_columns_are_fetched_and_little_else(
    s3: S3Server, store: Any, folder: Path, names: list[str], pool: str
) -> None:
    if pool == "process" and len(names) != 4:
        pytest.skip("one choice of columns is enough for processes")
    found = read(store, fields=names, pool=pool)
    local = tps.make_dataset(folder, fields=names, batch_size=ROWS)
    for name, values in next(local.as_numpy_iterator()).items():
        np.testing.assert_array_equal(found[name], values)
    data = s3.counts().bytes_sent("GET", ".parquet")
    assert chunks(folder, names) <= data
    assert data <= 1.2 * chunks(folder, names)


def test_neighbouring_columns_of_a_row_group_are_one_request(s3: S3Server, store: Any) -> None:
    read(store, fields=["c2", "c3", "c4"])
    gets = s3.counts().of("GET", ".parquet")
    assert len(gets) == 4
    heads = s3.counts().of("HEAD", ".parquet")
    assert len(heads) <= 2 * 4  # files, and threads that may open one at the same time


def test_columns_far_apart_are_fetched_side_by_side(s3: S3Server, store: Any) -> None:
    s3.faults(latency=0.05)
    read(store, fields=["c0", "c11"], pool="inline")
    counts = s3.counts()
    assert len(counts.of("GET", ".parquet")) == 8
    assert counts.peak == 2


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_a_store_that_fails_in_passing_is_asked_again(s3: S3Server, store: Any, folder: Path, pool: str) -> None:
    s3.faults(fail_every=3, cut_every=5, match=".parquet", latency=0.002)
    found = read(store, pool=pool)
    wanted = next(tps.make_dataset(folder, batch_size=ROWS).as_numpy_iterator())
    for name in COLUMNS:
        np.testing.assert_array_equal(found[name], wanted[name])
    statuses = [one.status for one in s3.counts().of(match=".parquet")]
    assert 503 in statuses
    assert 0 in statuses


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_a_store_that_fails_for_good_is_an_error_with_file_and_bytes(s3: S3Server, folder: Path, pool: str) -> None:
    # pyarrow itself tries again for minutes unless told otherwise.
    filesystem = s3.filesystem(retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=1))
    pafs.copy_files(str(folder), f"{BUCKET}/set", destination_filesystem=filesystem)
    dataset = tps.make_dataset(
        f"{BUCKET}/set", filesystem=filesystem, batch_size=10, pool=pool, on_error=tps.Skip(ROWS)
    )
    s3.faults(fail_every=1, match=".parquet", methods=("GET",))
    # Though it may skip damaged rows: these are not damaged.
    with pytest.raises(Exception, match="StoreError") as caught:
        list(dataset)
    assert r"Bytes can't be read, tried 5 times" in str(caught.value)
    assert "set/part-" in str(caught.value)
    assert len(s3.counts().of("GET", ".parquet")) >= 5
    tps.close(dataset)


def test_a_refusal_is_not_repeated(s3: S3Server, store: Any) -> None:
    with tps.make_reader(f"{BUCKET}/set", filesystem=store, reader_pool_type="dummy") as reader:
        s3.faults(fail_every=1, match=".parquet", status="403 Forbidden", code="AccessDenied")
        with pytest.raises(StoreError, match=r"part-.*permissions"):
            next(reader)
    # What is tried again would be asked five times; a client may ask a second time by itself.
    assert 1 <= [one.status for one in s3.counts().of(match=".parquet")].count(403) <= 2


def test_damage_on_a_store_is_damage(s3: S3Server, store: Any, folder: Path) -> None:
    file = sorted(folder.glob("*.parquet"))[0]
    raw = bytearray(file.read_bytes())
    raw[4:60] = bytes(56)  # the first page's header
    with store.open_output_stream(f"{BUCKET}/set/{file.name}") as sink:
        sink.write(bytes(raw))
    with (
        tps.make_reader(f"{BUCKET}/set", filesystem=store, shuffle_row_groups=False) as reader,
        pytest.raises(DamagedDataError, match=r"part-.*row group 0"),
    ):
        next(reader)


def test_a_file_that_was_replaced_is_noticed(s3: S3Server, store: Any, folder: Path) -> None:
    file = sorted(folder.glob("*.parquet"))[0]
    with tps.make_reader(f"{BUCKET}/set", filesystem=store, shuffle_row_groups=False) as reader:
        with store.open_output_stream(f"{BUCKET}/set/{file.name}") as sink:
            sink.write(file.read_bytes() + b"more")
        with pytest.raises(DatasetChangedError, match=r"part-.*expected \d+ bytes, found \d+ bytes"):
            next(reader)

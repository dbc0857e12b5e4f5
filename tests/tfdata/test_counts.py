"""What is read and decoded is counted, and the counts are held against the files and a filesystem that counts."""

from __future__ import annotations

import threading

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileOpener, LocalFileSystem

import tfpetastorm as tps

ROWS, GROUP = 400, 50


class CountingFileSystem(LocalFileSystem):
    """The local filesystem, adding up the bytes that are read."""

    cachable = False

    def __init__(self, **options):
        super().__init__(**options)
        self.bytes = 0
        self.guard = threading.Lock()

    def _open(self, path, mode="rb", **options):
        return CountingFile(path, mode, fs=self, **options)


class CountingFile(LocalFileOpener):
    def read(self, *arguments):
        data = super().read(*arguments)
        with self.fs.guard:
            self.fs.bytes += len(data)
        return data


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Rows with an id, and two fields of 4 kB each that only a codec can read."""
    folder = tmp_path_factory.mktemp("counts") / "d"
    schema = tps.Unischema(
        "Counts",
        [
            tps.UnischemaField("id", np.int64),
            tps.UnischemaField("a", np.float32, (1000,), tps.NdarrayCodec()),
            tps.UnischemaField("b", np.float32, (1000,), tps.NdarrayCodec()),
        ],
    )
    random = np.random.default_rng(0)
    with tps.DatasetWriter(folder, schema, row_group_rows=GROUP) as writer:
        for i in range(ROWS):
            a, b = random.random((2, 1000), np.float32)
            writer.write({"id": i, "a": a, "b": b})
    return folder


def chunk_bytes(url, field, groups):
    """Compressed bytes of one column in some row groups, from the footer."""
    (path,) = url.glob("*.parquet")
    metadata = pq.read_metadata(path)
    index = metadata.schema.to_arrow_schema().names.index(field)
    return sum(metadata.row_group(group).column(index).total_compressed_size for group in groups)


def run(dataset):
    ids = [int(i) for batch in dataset for i in batch["id"]]
    return ids, tps.stats(dataset).counts


@pytest.mark.parametrize("pool", ["inline", "thread", "process"])
def test_a_column_not_asked_for_is_neither_fetched_nor_decoded(url, pool):
    ids, counts = run(tps.make_dataset(url, fields=["id", "a"], batch_size=32, pool=tps.PoolOptions(pool, 2)))
    assert ids == list(range(ROWS))
    assert counts.rows == ROWS
    assert counts.cells == ROWS
    assert counts.row_groups == ROWS // GROUP
    assert counts.bytes_fetched == sum(chunk_bytes(url, field, range(8)) for field in ("id", "a"))


def test_only_rows_that_pass_are_decoded_and_only_their_row_groups_fetched(url):
    """By a function, so that statistics can't help: ids are fetched everywhere, arrays where a row passes."""
    dataset = tps.make_dataset(url, where=lambda id: (id % 100) == 7, batch_size=32)  # noqa: A006
    ids, counts = run(dataset)
    assert ids == [7, 107, 207, 307]
    assert counts.cells == 4 * 2
    # Row groups that the index pass showed to be empty are not even asked for their ids again.
    groups = [0, 2, 4, 6]
    assert counts.bytes_fetched == sum(chunk_bytes(url, field, groups) for field in ("id", "a", "b"))


def test_reported_bytes_are_those_that_the_filesystem_gave(url):
    filesystem = CountingFileSystem()
    stored = tps.open_dataset(str(url), filesystem=filesystem)
    assert isinstance(filesystem, fsspec.AbstractFileSystem)
    opening = filesystem.bytes
    (path,) = url.glob("*.parquet")
    assert opening < 100_000 < path.stat().st_size / 10
    dataset = tps.make_dataset(stored, fields=["id", "a"], batch_size=32, epochs=2)
    _, counts = run(dataset)
    fetched = filesystem.bytes - opening
    # Footers are at hand, so what is read is column chunks, and the holes that are cheaper to read than to leave out.
    assert counts.bytes_fetched <= fetched <= 1.05 * counts.bytes_fetched


def test_hive_folders_that_cannot_match_are_not_opened(hive):
    filesystem = CountingFileSystem()
    stored = tps.open_dataset(str(hive), filesystem=filesystem)
    opening = filesystem.bytes
    dataset = tps.make_dataset(stored, fields=["id"], where=[("drive", "=", "b")], batch_size=8)
    ids, counts = run(dataset)
    assert ids == list(range(20, 40))
    assert counts.row_groups == 2
    assert 0 < filesystem.bytes - opening < opening

"""Datasets on TensorFlow's filesystems: written, opened, read; by URL and by filesystem=."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow.fs as pafs
import pytest

import tfpetastorm as tps
from tfpetastorm.errors import DatasetError, DatasetExistsError, DatasetNotFoundError

SCHEMA = tps.Unischema(
    "Things",
    [
        tps.UnischemaField("id", np.int64),
        tps.UnischemaField("array", np.float32, (4,), tps.NdarrayCodec()),
        tps.UnischemaField("text", np.str_),
    ],
)


def columns(start: int, stop: int) -> dict[str, Any]:
    ids = np.arange(start, stop)
    return {"id": ids, "array": np.outer(ids, np.ones(4)).astype(np.float32), "text": [f"row {i}" for i in ids]}


@pytest.fixture(params=["ram", "file"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What to give as url and filesystem: for TensorFlow's memory the URL does."""
    if request.param == "file":
        yield {"url": str(tmp_path / "ds"), "filesystem": tps.gfile_filesystem("file")}
        return
    name = f"datasets-{uuid4().hex}"
    yield {"url": f"ram://{name}/ds"}
    tps.gfile_filesystem("ram").delete_dir(name)


def write(where: dict[str, Any], start: int, stop: int, **options: Any) -> None:
    options = {"row_group_rows": 4, **options}
    given = dict(where)
    with tps.DatasetWriter(given.pop("url"), SCHEMA, **given, **options) as writer:
        writer.write_batch(columns(start, stop))


def ids(where: dict[str, Any], **options: Any) -> list[int]:
    given = dict(where)
    dataset = tps.make_dataset(given.pop("url"), batch_size=4, shuffle=False, **given, **options)
    found = []
    for batch in dataset:
        assert np.array_equal(batch["array"], np.outer(batch["id"], np.ones(4)))
        assert [text.decode() for text in batch["text"].numpy()] == [f"row {i}" for i in batch["id"].numpy()]
        found += batch["id"].numpy().tolist()
    return found


def test_written_in_every_mode_and_read_by_every_reader(where: dict[str, Any]) -> None:
    write(where, 0, 10)
    write(where, 10, 15, mode="append")
    assert ids(where) == list(range(15))
    given = dict(where)
    url = given.pop("url")
    with tps.make_reader(url, num_epochs=1, shuffle_row_groups=False, **given) as reader:
        assert [row.id for row in reader] == list(range(15))
    with tps.make_batch_reader(
        url, num_epochs=1, shuffle_row_groups=False, reader_pool_type="dummy", **given
    ) as reader:
        assert [i for batch in reader for i in batch.id] == list(range(15))
    with pytest.raises(DatasetExistsError):
        write(where, 0, 1)
    write(where, 20, 23, mode="overwrite")
    assert ids(where) == [20, 21, 22]
    assert tps.open_dataset(f"{url[:-1]}*", **given).num_rows == 3
    stored = tps.open_dataset(url, **given)
    left = stored.filesystem.get_file_info(pafs.FileSelector(stored.root, recursive=True))
    assert {info.base_name for info in left} == {"_common_metadata", stored.files[0].name}


def test_partitions(where: dict[str, Any]) -> None:
    write(where, 0, 3, partition_by=["id"])
    given = dict(where)
    stored = tps.open_dataset(given.pop("url"), **given)
    assert stored.partition_fields == {"id": (0, 1, 2)}
    assert sorted(ids(where)) == [0, 1, 2]


def test_an_interrupted_writer_leaves_the_dataset_as_it_was(where: dict[str, Any]) -> None:
    write(where, 0, 5)
    given = dict(where)
    url = given.pop("url")
    before = tps.open_dataset(url, **given)
    with pytest.raises(KeyboardInterrupt), tps.DatasetWriter(url, SCHEMA, mode="overwrite", **given) as writer:
        writer.write_batch(columns(5, 10))
        raise KeyboardInterrupt
    assert ids(where) == [0, 1, 2, 3, 4]
    assert [file.name for file in tps.open_dataset(url, **given).files] == [file.name for file in before.files]
    assert len(before.filesystem.get_file_info(pafs.FileSelector(before.root, recursive=True))) == 2


def test_worker_processes_load_the_filesystem_by_themselves(tmp_path: Path) -> None:
    where = {"url": str(tmp_path / "ds"), "filesystem": tps.gfile_filesystem("file")}
    write(where, 0, 10)
    assert ids(where, pool="process") == list(range(10))


def test_the_memory_of_one_process_is_no_place_for_workers() -> None:
    url = f"ram://workers-{uuid4().hex}/ds"
    write({"url": url}, 0, 4)
    with (
        pytest.raises(tps.TfpetastormError, match=r"memory of one process.*use pool='thread'"),
        tps.make_reader(url, num_epochs=1, reader_pool_type="process") as reader,
    ):
        next(reader)


def test_what_is_not_there_is_told_by_its_url() -> None:
    with pytest.raises(DatasetNotFoundError, match="ram://nowhere/x"):
        tps.open_dataset("ram://nowhere/x")
    with pytest.raises(DatasetError, match=r"neither pyarrow nor fsspec nor tf\.io\.gfile knows nosuch://a/b"):
        tps.open_dataset("nosuch://a/b")


def test_a_dataset_beside_one_whose_name_begins_alike() -> None:
    name = f"names-{uuid4().hex}"
    write({"url": f"ram://{name}/ds2"}, 0, 3)
    with pytest.raises(DatasetNotFoundError):
        tps.open_dataset(f"ram://{name}/ds")
    write({"url": f"ram://{name}/ds"}, 5, 6)
    assert ids({"url": f"ram://{name}/ds"}) == [5]
    assert ids({"url": f"ram://{name}/ds2"}) == [0, 1, 2]


def test_a_third_slash_is_a_part_of_the_path() -> None:
    name = f"slashes-{uuid4().hex}"
    write({"url": f"ram:///{name}/ds"}, 0, 3)
    write({"url": f"ram:///{name}/ds"}, 3, 5, mode="append")
    assert ids({"url": f"ram:///{name}/ds"}) == [0, 1, 2, 3, 4]
    with pytest.raises(DatasetNotFoundError):
        tps.open_dataset(f"ram://{name}/ds")


def test_a_file_rewritten_in_its_size_is_noticed() -> None:
    """TensorFlow's memory has no times, so nothing may be kept of a file for its size alone."""
    url = f"ram://rewritten-{uuid4().hex}/ds"
    write({"url": url}, 0, 4)
    tps.open_dataset(url)
    write({"url": url}, 4, 8, mode="overwrite")
    assert ids({"url": url}) == [4, 5, 6, 7]

"""Arguments that have become pointless are accepted wherever petastorm had them, with a warning that says why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.migration import published
from tests.migration.names import public_names
from tfpetastorm.etl.dataset_metadata import get_schema_from_dataset_url
from tfpetastorm.etl.petastorm_generate_metadata import generate_petastorm_metadata
from tfpetastorm.etl.rowgroup_indexers import SingleFieldIndexer
from tfpetastorm.etl.rowgroup_indexing import build_rowgroup_index
from tfpetastorm.fs_utils import FilesystemResolver, get_filesystem_and_path_or_paths
from tfpetastorm.reader import make_batch_reader, make_reader
from tfpetastorm.spark_utils import dataset_as_rdd
from tfpetastorm.tools.copy_dataset import copy_dataset

CALLS: dict[str, Callable[[str, str], Any]] = {
    "make_reader": lambda url, driver: make_reader(url, hdfs_driver=driver).stop(),
    "make_batch_reader": lambda url, driver: make_batch_reader(url, hdfs_driver=driver).stop(),
    "get_schema_from_dataset_url": lambda url, driver: get_schema_from_dataset_url(url, hdfs_driver=driver),
    "generate_petastorm_metadata": lambda url, driver: generate_petastorm_metadata(None, url, hdfs_driver=driver),
    "build_rowgroup_index": lambda url, driver: build_rowgroup_index(
        url, None, [SingleFieldIndexer("by id", "id")], hdfs_driver=driver
    ),
    "FilesystemResolver": lambda url, driver: FilesystemResolver(url, hdfs_driver=driver),
    "get_filesystem_and_path_or_paths": lambda url, driver: get_filesystem_and_path_or_paths(url, hdfs_driver=driver),
    "copy_dataset": lambda url, driver: copy_dataset(None, url, url + "-copy", None, None, False, None, None, driver),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_driver_for_hdfs_is_taken_with_a_warning(name: str, golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "petastorm-0.13.1/types", tmp_path / "types")
    with pytest.warns(DeprecationWarning, match="hdfs_driver has no effect: .+") as caught:
        CALLS[name]((tmp_path / "types").as_uri(), "libhdfs3")
    [warning] = [one for one in caught if one.category is DeprecationWarning]
    assert warning.filename == __file__, "it names the line of whoever calls"


def test_these_are_all_that_had_one() -> None:
    source = published.tests_of_petastorm()
    if source is None:
        pytest.skip("no petastorm; `make petastorm-env` installs it")
    theirs = {name.name for name in public_names(source.parent) if "hdfs_driver" in (name.parameters or ())}
    # This one needs Spark.
    assert theirs == {*CALLS, dataset_as_rdd.__name__}

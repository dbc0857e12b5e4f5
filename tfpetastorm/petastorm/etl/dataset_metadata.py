"""`petastorm.etl.dataset_metadata`: what a dataset's metadata says, and writing it."""

from __future__ import annotations

from typing import Any

from tfpetastorm.errors import PetastormMetadataError as PetastormMetadataError
from tfpetastorm.errors import PetastormMetadataGenerationError as PetastormMetadataGenerationError
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.spark.materialize import materialize_dataset as materialize_dataset
from tfpetastorm.storage.dataset import RowGroup, StoredDataset
from tfpetastorm.storage.metadata import PETASTORM_FILES_KEY as ROW_GROUPS_PER_FILE_KEY
from tfpetastorm.storage.metadata import PETASTORM_UNISCHEMA_KEY as UNISCHEMA_KEY
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.stores.options import filesystem_of
from tfpetastorm.stores.petastorm_urls import warn_of_driver

__all__ = [
    "ROW_GROUPS_PER_FILE_KEY",
    "UNISCHEMA_KEY",
    "PetastormMetadataError",
    "PetastormMetadataGenerationError",
    "get_schema",
    "get_schema_from_dataset_url",
    "infer_or_load_unischema",
    "load_row_groups",
    "materialize_dataset",
]


def get_schema(dataset: Any) -> Unischema:
    """The Unischema that a dataset's metadata holds, ours or petastorm's; nothing of the dataset is run.

    dataset: a `StoredDataset` (of `open_dataset`), a `pyarrow.parquet.ParquetDataset`, or a URL.
    Raises PetastormMetadataError if the metadata holds none.
    """
    stored = _stored(dataset)
    if stored.kind == "parquet":
        raise PetastormMetadataError(
            f"{stored.url} holds no Unischema. Write it with materialize_dataset or DatasetWriter, or add one with "
            "`tfpetastorm generate-metadata`."
        )
    return stored.schema


def get_schema_from_dataset_url(
    dataset_url_or_urls: Any, hdfs_driver: str | None = None, storage_options: Any = None, filesystem: Any = None
) -> Unischema:
    """The Unischema of the dataset at a URL. See `get_schema`. hdfs_driver: dropped, with a DeprecationWarning."""
    warn_of_driver(hdfs_driver)
    filesystem = filesystem if filesystem is not None else filesystem_of(dataset_url_or_urls, storage_options)
    return get_schema(open_dataset(dataset_url_or_urls, filesystem=filesystem))


def infer_or_load_unischema(dataset: Any) -> Unischema:
    """The Unischema that a dataset's metadata holds; of plain Parquet, the one that its columns amount to."""
    return _stored(dataset).schema


def load_row_groups(dataset: Any) -> list[RowGroup]:
    """The row groups of a dataset from its footers, files sorted by name."""
    return list(_stored(dataset).row_groups)


def _stored(dataset: Any) -> StoredDataset:
    if isinstance(dataset, StoredDataset):
        return dataset
    if hasattr(dataset, "files") and hasattr(dataset, "filesystem"):
        return open_dataset(list(dataset.files), filesystem=dataset.filesystem, unmapped="omit")
    return open_dataset(dataset, unmapped="omit")

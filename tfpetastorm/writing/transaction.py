"""What one `DatasetWriter` and a job of several have in common: a commit with the schema and options of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from tfpetastorm.errors import DatasetError, OptionError
from tfpetastorm.schema.petastorm_emit import can_express
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.metadata import (
    FILES_KEY,
    PETASTORM_FILES_KEY,
    PETASTORM_UNISCHEMA_KEY,
    ListedFile,
    dataset_pairs,
    files_json,
)
from tfpetastorm.stores.filesystem import Location, Url, resolve
from tfpetastorm.writing.commit import Commit, Mode
from tfpetastorm.writing.write_options import WriteOptions
from tfpetastorm.writing.writer_checks import check_layout, check_options, check_partitions, schema_for

#: What petastorm's or Spark's tools derived from the old row groups; wrong once there are others.
_INDEX_KEY = b"dataset-toolkit.rowgroups_index.v1"


@dataclass(frozen=True)
class Transaction:
    """Rows of `schema` about to become part of the dataset at `location`, or the whole of it."""

    location: Location
    commit: Commit
    schema: Unischema
    options: WriteOptions

    @property
    def columns(self) -> pa.Schema:
        """What the files hold."""
        return stored_columns(self.schema, self.options.partition_by)

    def start(self, lease_seconds: float | None = None) -> None:
        """Mark the dataset; whatever is raised, the commit is to be aborted then.

        lease_seconds: see `Commit.start`. Raises `DatasetError` if the place can't be written.
        """
        try:
            self.commit.start(self.columns, lease_seconds)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"can't write to {self.location.url}: {error}") from None

    def finish(self, written: Mapping[str, ListedFile], writer: str | None = None) -> None:
        """Make these files part of the dataset. writer: token to be stored, by which a job knows its commit again.

        Raises `DatasetError` if another writer has committed meanwhile.
        """
        old = self.commit.existing
        keep = self.commit.mode == "append" and old is not None
        files: dict[str, ListedFile] = {**(self.commit.files if keep else {}), **written}
        pairs = {k: v for k, v in old.pairs.items() if k != _INDEX_KEY} if keep and old is not None else {}
        for key in (PETASTORM_UNISCHEMA_KEY, PETASTORM_FILES_KEY):
            pairs.pop(key, None)
        petastorm = self.options.petastorm_compatible and not can_express(self.schema)
        pairs |= dataset_pairs(self.schema, files, petastorm=petastorm)
        if writer is not None:
            pairs[FILES_KEY] = files_json(files, writer=writer)
        self.commit.finish(files, self.columns, pairs)


def begin(
    url: Url, schema: Unischema | None, mode: Mode, options: WriteOptions, filesystem: Any, workers: int | None = None
) -> Transaction:
    """A transaction, not yet started. Arguments are those of `DatasetWriter`, which says what is raised."""
    check_options(
        mode,
        options.compression,
        options.row_group_rows,
        options.row_group_size_mb,
        options.file_rows,
        options.file_size_mb,
        workers,
    )
    location = resolve(url, filesystem, glob=False)
    if location.many:
        raise OptionError("a writer takes one folder, not a list.")
    try:
        commit = Commit(location.filesystem, location.paths[0], mode, location.url)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"can't look at {location.url}: {error}") from None
    schema = schema_for(commit, schema)
    options = replace(
        options,
        partition_by=check_partitions(schema, options.partition_by),
        # NumPy's integers have no place in JSON.
        row_group_rows=None if options.row_group_rows is None else int(options.row_group_rows),
        file_rows=None if options.file_rows is None else int(options.file_rows),
    )
    check_layout(commit, options.partition_by)
    return Transaction(location, commit, schema, options)


def stored_columns(schema: Unischema, partition_by: tuple[str, ...]) -> pa.Schema:
    """The columns of files that lie in folders of `partition_by`."""
    return pa.schema([column for column in schema.as_arrow_schema() if column.name not in partition_by])

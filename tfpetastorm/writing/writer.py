"""`DatasetWriter`: rows or columns in, a Parquet dataset with a Unischema out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.stores.filesystem import Url
from tfpetastorm.writing import transaction
from tfpetastorm.writing.commit import Mode
from tfpetastorm.writing.parts import PartWriter
from tfpetastorm.writing.row_writer import RowWriter
from tfpetastorm.writing.write_options import WriteOptions


class DatasetWriter(RowWriter):
    """Writes a dataset, or adds to one. Use it in a `with` statement.

    Nothing of it can be seen by readers until the statement ends; if that is by an exception, or the process dies,
    the earlier dataset is as it was.

    url: a folder: a path, a `Path` or any URL of `pyarrow.fs` or fsspec. schema: of the rows; for mode="append" None
    stands for the dataset's own. row_group_rows: rows of each row group. row_group_size_mb: used if that is None;
    size of a row group as encoded, before compression, in MiB. file_rows, file_size_mb: when a file is full.
    partition_by: scalar fields whose values become folders, `key=value/`, rather than columns. mode: "error" if there
    is a dataset already, "append" or "overwrite". compression: "snappy", "zstd", "lz4", "gzip", "brotli" or "none";
    columns of compressed images and arrays are not compressed again. filesystem: a pyarrow or fsspec filesystem.
    workers: threads that encode; None for one a core, 0 for none. petastorm_compatible: also write the metadata that
    petastorm reads, where it can express every field. progress: show a bar.

    Raises `OptionError` for a bad argument, `DatasetError` if the place can't be written or holds a dataset,
    `SchemaMismatchError` if what is appended has another schema.
    """

    def __init__(
        self,
        url: Url,
        schema: Unischema | None,
        *,
        row_group_rows: int | None = None,
        row_group_size_mb: float = 32,
        file_rows: int | None = None,
        file_size_mb: float | None = 1024,
        partition_by: Sequence[str] = (),
        mode: Mode = "error",
        compression: str = "snappy",
        filesystem: Any = None,
        workers: int | None = None,
        petastorm_compatible: bool = True,
        progress: bool = False,
    ) -> None:
        options = WriteOptions(
            row_group_rows,
            row_group_size_mb,
            file_rows,
            file_size_mb,
            (partition_by,) if isinstance(partition_by, str) else tuple(partition_by),
            compression,
            petastorm_compatible,
        )
        self._transaction = transaction.begin(url, schema, mode, options, filesystem, workers)
        location, commit = self._transaction.location, self._transaction.commit
        schema, options = self._transaction.schema, self._transaction.options
        parts = PartWriter(location.filesystem, commit, schema, options.sizes, options.compression)
        super().__init__(location.paths[0], schema, options, parts, workers, progress)
        try:
            self._transaction.start()
        except BaseException:
            self.abort()
            raise

    def _finish(self) -> None:
        self._transaction.finish(self._parts.files)

    def _drop(self) -> None:
        self._transaction.commit.abort()

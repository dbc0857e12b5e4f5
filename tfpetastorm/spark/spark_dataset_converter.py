"""`make_spark_converter`: a DataFrame, stored once, as datasets of TensorFlow and loaders of PyTorch.

One session of Spark stores it, and whoever gets the converter reads it, in any process. What was stored is deleted when
the program ends. pyspark, TensorFlow and PyTorch are imported when they are needed.
"""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from tfpetastorm.errors import DatasetWarning, OptionError
from tfpetastorm.feed.launchers import agrees_with_launcher, launcher_checked, mpi_rank
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.reader.arguments import filesystem_of
from tfpetastorm.reader.factories import make_batch_reader
from tfpetastorm.redaction import redact
from tfpetastorm.spark.caching import CachedDataFrameMeta, DataFrameCache
from tfpetastorm.spark.caching import sub_dir_url as _make_sub_dir_url  # noqa: F401 - petastorm's tests import it
from tfpetastorm.spark.files import COALESCE, check_unquoted, delete_folder, for_spark, size_advice, wait_until_seen
from tfpetastorm.spark.files import check_has_scheme as _check_url
from tfpetastorm.spark.files import normalize_dbfs_url as _normalize_databricks_dbfs_url
from tfpetastorm.spark.input_files import chosen_files
from tfpetastorm.spark.precision import check_dtype, warn_of_left_out, warn_of_loss
from tfpetastorm.spark.session import driver_session as _get_spark_session
from tfpetastorm.spark.stored_frame import unglobbed
from tfpetastorm.stores.filesystem import is_local, resolve

__all__ = [
    "DEFAULT_ROW_GROUP_SIZE_BYTES",
    "CachedDataFrameMeta",
    "SparkDatasetConverter",
    "TFDatasetContextManager",
    "TorchDatasetContextManager",
    "make_spark_converter",
    "register_delete_dir_handler",
    "vector_to_array",
]

logger = logging.getLogger(__name__)

DEFAULT_ROW_GROUP_SIZE_BYTES = 32 * 1024 * 1024
_FILE_AVAILABILITY_WAIT_TIMEOUT_SECS = 30
_WORKERS = 4
_BATCH_SIZE = 32
#: What Spark's Parquet writer knows and pyarrow reads.
_CODECS = ("uncompressed", "snappy", "gzip", "lz4", "lz4_raw", "zstd")


class SparkDatasetConverter:
    """A stored DataFrame. It can be pickled and used in any process that sees its files.

    cache_dir_url: the folder it lies in. file_urls: its Parquet files. dataset_size: its rows, which is also its
    `len`. users_own: whether the files are a user's, which `delete()` leaves alone.
    """

    #: The key of Spark's configuration that says where DataFrames are stored.
    PARENT_CACHE_DIR_URL_CONF = "petastorm.spark.converter.parentCacheDirUrl"
    #: Our own name of it, which goes before petastorm's.
    CACHE_DIR_CONF = "tfpetastorm.spark.converter.parentCacheDirUrl"

    #: Of those, too, that were pickled when there was no such attribute.
    users_own = False

    def __init__(
        self, cache_dir_url: str, file_urls: Sequence[str], dataset_size: int, *, users_own: bool = False
    ) -> None:
        self.cache_dir_url = cache_dir_url
        self.file_urls = file_urls
        self.dataset_size = dataset_size
        self.users_own = users_own

    def __len__(self) -> int:
        return self.dataset_size

    def make_tf_dataset(
        self,
        batch_size: int | None = None,
        prefetch: int | None = None,
        num_epochs: int | None = None,
        workers_count: int | None = None,
        shuffling_queue_capacity: int | None = None,
        **petastorm_reader_kwargs: Any,
    ) -> TFDatasetContextManager:
        """A context manager that gives a `tf.data.Dataset` of batches, and stops reading when it is left.

        Elements are namedtuples of tensors `[rows, *shape]`. Batches go on across files, row groups and epochs; only
        the very last one may be short.

        batch_size: rows of a batch; 32 unless told. prefetch: batches made ahead; unless told TensorFlow decides.
        num_epochs: None for endless. workers_count: 4 unless told. shuffling_queue_capacity: any number above 0 mixes
        the rows, as `make_batch_reader(shuffle_rows=True)` does. petastorm_reader_kwargs: more arguments of
        `make_batch_reader`.

        Warns if `cur_shard` and `shard_count` are not what Horovod, MPI or TF_CONFIG say. When entered, raises what
        `make_batch_reader` does, and FilesNotSeenError (a RuntimeError) if files are not there after 30 s.
        """
        return TFDatasetContextManager(
            self.file_urls,
            batch_size,
            prefetch,
            _reader_arguments(petastorm_reader_kwargs, num_epochs, workers_count),
            shuffling_queue_capacity,
        )

    def make_torch_dataloader(
        self,
        batch_size: int = 32,
        num_epochs: int | None = None,
        workers_count: int | None = None,
        shuffling_queue_capacity: int = 0,
        data_loader_fn: Callable[..., Any] | None = None,
        **petastorm_reader_kwargs: Any,
    ) -> TorchDatasetContextManager:
        """A context manager that gives a loader for PyTorch, and stops reading when it is left.

        batch_size: rows of a batch. shuffling_queue_capacity: rows held back, of which each batch is drawn at random; 0
        for none. data_loader_fn: makes the loader from `reader=`, `batch_size=` and `shuffling_queue_capacity=`; a
        `BatchedDataLoader` unless told. All else, and what is raised, is that of `make_tf_dataset`.
        """
        return TorchDatasetContextManager(
            self.file_urls,
            batch_size,
            _reader_arguments(petastorm_reader_kwargs, num_epochs, workers_count),
            shuffling_queue_capacity,
            data_loader_fn,
        )

    def delete(self) -> None:
        """Deletes the stored files, by the handler if one is registered. The same DataFrame would be stored anew.

        Of a converter that was made of a path or URL nothing is deleted, and a warning says so: nothing was stored.
        """
        if self.users_own:
            warnings.warn(
                f"The files at {redact(self.cache_dir_url)} were there before the converter, which was made of their "
                "path: they were left as they are. Delete them yourself if they are not needed.",
                DatasetWarning,
                stacklevel=2,
            )
            return
        _cache.remove(self.cache_dir_url)


def _reader_arguments(given: Mapping[str, Any], num_epochs: int | None, workers_count: int | None) -> dict[str, Any]:
    agrees_with_launcher(given.get("cur_shard"), given.get("shard_count"), stacklevel=3)
    return {**given, "num_epochs": num_epochs, "workers_count": _WORKERS if workers_count is None else workers_count}


# ---------------------------------------------------------------------- while data is read


class _ReadingManager:
    """Opens a reader of the files when entered, and ends it when left."""

    def __init__(self, parquet_file_url_list: Sequence[str], petastorm_reader_kwargs: dict[str, Any]) -> None:
        self.parquet_file_url_list = parquet_file_url_list
        self.petastorm_reader_kwargs = petastorm_reader_kwargs
        self.reader: Any = None

    def __enter__(self) -> Any:
        arguments = self._arguments()
        urls, filesystem = filesystem_of(
            list(self.parquet_file_url_list), arguments.get("filesystem"), arguments.get("storage_options")
        )
        _wait_file_available(urls, filesystem)
        # Told where the manager was made, at the user's own line.
        with launcher_checked():
            self.reader = make_batch_reader(list(self.parquet_file_url_list), **arguments)
        try:
            return self._made(self.reader)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        reader, self.reader = self.reader, None
        if reader is not None:
            reader.stop()
            reader.join()

    def _arguments(self) -> dict[str, Any]:
        return self.petastorm_reader_kwargs

    def _made(self, reader: Any) -> Any:
        raise NotImplementedError


class TFDatasetContextManager(_ReadingManager):
    """What `SparkDatasetConverter.make_tf_dataset` returns. Entered it gives the dataset; left, it stops the reader."""

    def __init__(
        self,
        parquet_file_url_list: Sequence[str],
        batch_size: int | None,
        prefetch: int | None,
        petastorm_reader_kwargs: dict[str, Any],
        shuffling_queue_capacity: int | None,
    ) -> None:
        super().__init__(parquet_file_url_list, petastorm_reader_kwargs)
        self.batch_size = _BATCH_SIZE if batch_size is None else whole_number("batch_size", batch_size, 1)
        self.prefetch = prefetch
        self.shuffling_queue_capacity = whole_number("shuffling_queue_capacity", shuffling_queue_capacity or 0, 0)

    def _arguments(self) -> dict[str, Any]:
        # Mixed by whole columns where they are decoded, instead of row by row in the graph.
        mixed = {"shuffle_rows": True} if self.shuffling_queue_capacity else {}
        return {**mixed, **self.petastorm_reader_kwargs}

    def _made(self, reader: Any) -> Any:
        import tensorflow as tf

        from tfpetastorm.tfdata.from_reader import make_petastorm_dataset

        ahead = tf.data.AUTOTUNE if self.prefetch is None else self.prefetch
        # A dataset of a graph of TensorFlow 1 stays one by `apply`.
        return make_petastorm_dataset(reader).apply(lambda whole: whole.rebatch(self.batch_size).prefetch(ahead))


class TorchDatasetContextManager(_ReadingManager):
    """What `SparkDatasetConverter.make_torch_dataloader` returns. Entering it gives the loader, leaving it stops the
    reader."""

    def __init__(
        self,
        parquet_file_url_list: Sequence[str],
        batch_size: int,
        petastorm_reader_kwargs: dict[str, Any],
        shuffling_queue_capacity: int,
        data_loader_fn: Callable[..., Any] | None,
    ) -> None:
        super().__init__(parquet_file_url_list, petastorm_reader_kwargs)
        self.batch_size = batch_size
        self.shuffling_queue_capacity = shuffling_queue_capacity
        self.data_loader_fn = data_loader_fn
        self.loader: Any = None

    def _made(self, reader: Any) -> Any:
        make = self.data_loader_fn or importlib.import_module("tfpetastorm.torch").BatchedDataLoader
        self.loader = make(
            reader=reader, batch_size=self.batch_size, shuffling_queue_capacity=self.shuffling_queue_capacity
        )
        return self.loader


def _wait_file_available(url_list: Sequence[str], filesystem: Any = None) -> None:
    wait_until_seen(url_list, _FILE_AVAILABILITY_WAIT_TIMEOUT_SECS, filesystem)


# ---------------------------------------------------------------------- while data is stored


def make_spark_converter(
    df: Any,
    parquet_row_group_size_bytes: int = DEFAULT_ROW_GROUP_SIZE_BYTES,
    compression_codec: str | None = None,
    dtype: str | None = "float32",
) -> SparkDatasetConverter:
    """Stores a DataFrame as Parquet, unless one of the same logical plan and options is stored already.

    It gets a folder in the one that Spark's configuration names (`SparkDatasetConverter.PARENT_CACHE_DIR_URL_CONF`, a
    URL that every process sees), and is deleted when the program ends, or by `delete()`. Vectors of `pyspark.ml` and
    `pyspark.mllib` become arrays, also within arrays and structs.

    df: a DataFrame; or the URL or path of Parquet files, which are taken as they are (the other arguments then have no
    effect). parquet_row_group_size_bytes: of row groups. compression_codec: "snappy", "gzip", "lz4", "lz4_raw", "zstd",
    or None for none. dtype: "float32" or "float64" gives all floats, in arrays and structs too, that precision; None
    keeps each its own. float64 that becomes float32 is warned of.

    Raises OptionError (a ValueError) for options that can't work, a URL that Spark takes for another folder's, or if
    the configuration names no folder; MissingPackageError without pyspark; and for the path of a dataset what
    `open_dataset` raises. Warns of files that are too small to be read fast, of columns that no reader has a field for,
    and of intervals, which are read as numbers.
    """
    as_it_is = isinstance(df, (str, os.PathLike))
    if as_it_is:
        url = os.fspath(df)
        check_unquoted(url)
        spark = _get_spark_session()
        if "DATABRICKS_RUNTIME_VERSION" in os.environ:
            url = _normalize_databricks_dbfs_url(
                url, f"On Databricks a path is one of dbfs, as dbfs:/x or file:/dbfs/x, not {redact(url)}."
            )
    else:
        if not hasattr(df, "sameSemantics"):
            raise OptionError(f"make_spark_converter takes a DataFrame of Spark, a URL or a path, not {df!r}.")
        spark = df.sparkSession
        check_dtype(dtype)
        codec = _checked_codec(compression_codec)
        size = whole_number("parquet_row_group_size_bytes", parquet_row_group_size_bytes, 1)
        parent = _get_parent_cache_dir_url(spark)
        warn_of_loss(df, dtype)
        warn_of_left_out(df)
        url = _cache.url_of(df, parent, size, codec, dtype)
    stored = spark.read.parquet(for_spark(url) if as_it_is else unglobbed(url))
    files, rows = chosen_files(stored)
    advice = size_advice(files, remedy="Write them anew, in about {0}." if as_it_is else COALESCE)
    if advice is not None:
        warnings.warn(advice, DatasetWarning, stacklevel=2)
    return SparkDatasetConverter(url, files, rows, users_own=as_it_is)


def _checked_codec(codec: str | None) -> str:
    name = "uncompressed" if codec is None else str(codec).lower()
    if name == "none":
        name = "uncompressed"
    if name not in _CODECS:
        raise OptionError(f"compression_codec is None or one of {', '.join(map(repr, _CODECS))}, not {codec!r}.")
    return name


def _get_parent_cache_dir_url(spark: Any = None) -> str:
    spark = spark or _get_spark_session()
    names = (SparkDatasetConverter.CACHE_DIR_CONF, SparkDatasetConverter.PARENT_CACHE_DIR_URL_CONF)
    url = next((found for found in (spark.conf.get(name, None) for name in names) if found), None)
    if url is None:
        raise OptionError(
            f"Please set the spark config {names[1]}: the URL of a folder in which DataFrames are stored, which every "
            f'process sees: spark.conf.set("{names[1]}", "file:///tmp/converted"). ({names[0]} is the same.)'
        )
    url = str(url).rstrip("/")
    _check_parent_cache_dir_url(url)
    return url


def _check_parent_cache_dir_url(dir_url: str) -> None:
    _check_url(dir_url)
    check_unquoted(dir_url, query=True)
    # Before anything is stored where only Spark could read it.
    place = resolve(dir_url, glob=False)
    if "DATABRICKS_RUNTIME_VERSION" not in os.environ or _is_spark_local_mode():
        return
    if is_local(place.filesystem) and not place.paths[0].startswith("/dbfs/"):
        logger.warning(
            "On a cluster of Databricks you should specify a dbfs fuse path for %s, as file:/dbfs/x, or mount the same "
            "disk at %s on all nodes.",
            SparkDatasetConverter.PARENT_CACHE_DIR_URL_CONF,
            redact(dir_url),
        )


def _is_spark_local_mode() -> bool:
    return str(_get_spark_session().conf.get("spark.master")).strip().lower().startswith("local")


def _check_dataset_file_median_size(url_list: Sequence[str]) -> None:
    advice = size_advice(url_list)
    if advice is not None:
        logger.warning(advice)


def _get_horovod_rank_and_size() -> tuple[int | None, int | None]:
    return mpi_rank() or (None, None)


def _check_rank_and_size_consistent_with_horovod(petastorm_reader_kwargs: Mapping[str, Any]) -> bool:
    shard = petastorm_reader_kwargs.get("cur_shard"), petastorm_reader_kwargs.get("shard_count")
    return agrees_with_launcher(*shard, stacklevel=2)


# ---------------------------------------------------------------------- when data is deleted


def register_delete_dir_handler(handler: Callable[[str], None] | None) -> None:
    """What deletes a folder from now on, for this process: a function of its URL; None for what did so at first."""
    global _delete_dir_handler
    _delete_dir_handler = delete_folder if handler is None else handler


_delete_dir_handler: Callable[[str], None] = delete_folder
_cache = DataFrameCache(lambda url: _delete_dir_handler(url))
_cache_df_meta_list = _cache.entries


def vector_to_array(column: Any, dtype: str = "float64") -> Any:
    """Spark's own function of this name: a column of vectors as one of arrays."""
    return importlib.import_module("pyspark.ml.functions").vector_to_array(column, dtype)

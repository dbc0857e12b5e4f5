"""`petastorm.spark.spark_dataset_converter`: not here yet. Each name says by an error what to call meanwhile."""

from __future__ import annotations

from typing import Any, NoReturn

from tfpetastorm.errors import ReplacedError

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

DEFAULT_ROW_GROUP_SIZE_BYTES = 32 * 1024 * 1024


def _replaced(name: str) -> NoReturn:
    raise ReplacedError(
        f"{name} is replaced: write the DataFrame yourself, df.write.parquet(url), and feed TensorFlow by "
        "tfpetastorm.make_dataset(url, batch_size=32), PyTorch by tfpetastorm.torch.BatchedDataLoader("
        "tfpetastorm.make_batch_reader(url), batch_size=32)."
    )


def make_spark_converter(*_: Any, **__: Any) -> NoReturn:
    """Replaced: raises ReplacedError, which shows the new call."""
    _replaced("make_spark_converter")


def register_delete_dir_handler(handler: Any) -> NoReturn:
    """Replaced: raises ReplacedError, which shows the new call."""
    _replaced("register_delete_dir_handler")


def vector_to_array(*_: Any, **__: Any) -> NoReturn:
    """Replaced: raises ReplacedError, which shows the new call."""
    raise ReplacedError("vector_to_array is replaced by Spark's own: pyspark.ml.functions.vector_to_array(column).")


class _Replaced:
    def __init__(self, *_: Any, **__: Any) -> None:
        _replaced(type(self).__name__)


class SparkDatasetConverter(_Replaced):
    """Replaced: raises ReplacedError, which shows the new call."""

    PARENT_CACHE_DIR_URL_CONF = "petastorm.spark.converter.parentCacheDirUrl"


class CachedDataFrameMeta(_Replaced):
    """Replaced: raises ReplacedError, which shows the new call."""


class TFDatasetContextManager(_Replaced):
    """Replaced: raises ReplacedError, which shows the new call."""


class TorchDatasetContextManager(_Replaced):
    """Replaced: raises ReplacedError, which shows the new call."""

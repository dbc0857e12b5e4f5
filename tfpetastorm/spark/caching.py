"""DataFrames that were stored once, found again by their logical plan, and deleted when the program ends."""

from __future__ import annotations

import atexit
import datetime as dt
import logging
import os
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tfpetastorm.redaction import redact, redact_text
from tfpetastorm.spark.files import delete_folder, exists
from tfpetastorm.spark.input_files import same_sources, source_states
from tfpetastorm.spark.overrides import session_settings
from tfpetastorm.spark.precision import with_arrays, with_precision
from tfpetastorm.spark.settings import TIME_SETTINGS, parquet_settings

_LOG = logging.getLogger("tfpetastorm")


class CachedDataFrameMeta:
    """A DataFrame that was stored, or will be: what it was made of, and where it lies.

    df: the DataFrame. parent_cache_dir_url: the folder it gets a folder of its own in. row_group_size: bytes.
    compression_codec, dtype: as `make_spark_converter` takes them. cache_dir_url: its folder; None until it is stored.
    """

    def __init__(
        self, df: Any, parent_cache_dir_url: str, row_group_size: int, compression_codec: str, dtype: str | None
    ) -> None:
        self.df_plan = df
        self.parent_cache_dir_url = parent_cache_dir_url
        self.row_group_size = row_group_size
        self.compression_codec = compression_codec
        self.dtype = dtype
        self.cache_dir_url: str | None = None
        self.application = application_of(df.sparkSession)
        # As of before it is stored: what changes meanwhile is seen afterwards.
        self.sources = source_states(df)

    @classmethod
    def create_cached_dataframe_meta(
        cls, df: Any, parent_cache_dir_url: str, row_group_size: int, compression_codec: str, dtype: str | None
    ) -> CachedDataFrameMeta:
        """Stores a DataFrame. Whatever Spark raises leaves no folder behind."""
        made = cls(df, parent_cache_dir_url, row_group_size, compression_codec, dtype)
        made.store()
        return made

    def store(self) -> str:
        """Stores the DataFrame in a folder of its own, whose URL this returns. Whatever Spark raises leaves no folder
        behind."""
        df, dtype = self.df_plan, self.dtype
        url = sub_dir_url(self.parent_cache_dir_url, _new_name(self.application))
        writer = with_precision(with_arrays(df, dtype), dtype).write.option("compression", self.compression_codec)
        for name, value in parquet_settings(self.row_group_size / 2**20, None, use_summary_metadata=False).items():
            writer = writer.option(name, value)
        try:
            with session_settings(df.sparkSession, TIME_SETTINGS):
                writer.parquet(url)
        except BaseException:
            # What Spark had written so far; the error that counts is Spark's.
            with suppress(Exception):
                delete_folder(url)
            raise
        self.cache_dir_url = url
        return url

    def serves(self, other: CachedDataFrameMeta) -> bool:
        """Whether what is stored here is what the other one would store: the same plan, by Spark, columns, options and
        files read.

        Spark's `sameSemantics` looks neither at names nor at what was written to a file since.
        """
        mine = (self.application, self.parent_cache_dir_url, self.row_group_size, self.compression_codec, self.dtype)
        theirs = (
            other.application, other.parent_cache_dir_url, other.row_group_size, other.compression_codec, other.dtype
        )  # fmt: skip
        return (
            mine == theirs
            and self.df_plan.schema == other.df_plan.schema
            and bool(self.df_plan.sameSemantics(other.df_plan))
            and same_sources(self.sources, other.sources)
        )


class DataFrameCache:
    """All DataFrames that this process stored, see `entries`. delete: is told a folder's URL, and deletes it."""

    def __init__(self, delete: Callable[[str], None]) -> None:
        self.entries: list[CachedDataFrameMeta] = []
        self._delete = delete
        self._lock = threading.Lock()
        self._process: int | None = None

    def url_of(
        self, df: Any, parent_cache_dir_url: str, row_group_size: int, compression_codec: str, dtype: str | None
    ) -> str:
        """The folder of a DataFrame, which is stored unless it is already."""
        asked = CachedDataFrameMeta(df, parent_cache_dir_url, row_group_size, compression_codec, dtype)
        with self._lock:
            for entry in self.entries:
                if entry.cache_dir_url is not None and entry.serves(asked) and exists(entry.cache_dir_url):
                    return entry.cache_dir_url
            url = asked.store()
            self.entries.append(asked)
            if self._process != os.getpid():
                self._process = os.getpid()
                atexit.register(self._delete_all)
            return url

    def remove(self, url: str) -> None:
        """Forgets a folder, and deletes it."""
        with self._lock:
            self.entries[:] = [entry for entry in self.entries if entry.cache_dir_url != url]
        self._delete(url)

    def _delete_all(self) -> None:
        """At the end of the program; not at that of a process that was forked from it, to which nothing belongs."""
        if self._process != os.getpid():
            return
        for entry in self.entries:
            try:
                self._delete(str(entry.cache_dir_url))
            except Exception as error:  # noqa: BLE001 - a user's handler may raise anything, and the others go on
                shown = redact(str(entry.cache_dir_url))
                _LOG.warning("%s could not be deleted at the end of the program: %s", shown, redact_text(repr(error)))
        self.entries.clear()


def sub_dir_url(url: str, name: str) -> str:
    """The URL of something in a folder; what follows the path, if anything, stays behind it. The name of a file on this
    machine may have a "?"."""
    head, mark, query = (url, "", "") if url.lower().startswith("file:") else url.partition("?")
    return f"{head.rstrip('/')}/{name}{mark}{query}"


def application_of(spark: Any) -> str:
    """What tells one Spark application from the next. Spark Connect has no such name."""
    try:
        return str(spark.sparkContext.applicationId)
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("pyspark", "builtins"):
            raise
        return "connect"


def _new_name(application: str) -> str:
    """The name of a new folder, by which its owner is known if it outlives the program."""
    return f"{dt.datetime.now(dt.timezone.utc):%Y%m%d%H%M%S}-appid-{application}-{uuid.uuid4()}"

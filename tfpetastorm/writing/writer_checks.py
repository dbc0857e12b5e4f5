"""What a `DatasetWriter` makes sure of before it writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import OptionError, Place, SchemaMismatchError, describe
from tfpetastorm.schema.petastorm_format import read_pickled_schema
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.listing import partition_of
from tfpetastorm.storage.metadata import PETASTORM_UNISCHEMA_KEY, UNISCHEMA_KEY
from tfpetastorm.writing.commit import Commit


def check_options(
    mode: str,
    compression: str,
    row_group_rows: int | None,
    row_group_size_mb: float,
    file_rows: int | None,
    file_size_mb: float | None,
    workers: int | None,
) -> None:
    """Raise `OptionError` for an argument of `DatasetWriter` that can't work."""
    if mode not in ("error", "append", "overwrite"):
        raise OptionError(f"mode={mode!r} is none of 'error', 'append', 'overwrite'.")
    if compression != "none" and not _has_codec(compression):
        raise OptionError(f"compression={compression!r} is none of 'snappy', 'zstd', 'lz4', 'gzip', 'brotli', 'none'.")
    counts: dict[str, Any] = {"row_group_rows": row_group_rows, "file_rows": file_rows}
    for name, count in counts.items():
        if count is not None and (not isinstance(count, (int, np.integer)) or count < 1):
            raise OptionError(f"{name}={count!r} is no number of rows; give an int of 1 or more.")
    for name, size in {"row_group_size_mb": row_group_size_mb, "file_size_mb": file_size_mb}.items():
        if size is not None and not size > 0:
            raise OptionError(f"{name}={size!r} is no size; give a number above 0.")
    if workers is not None and workers < 0:
        raise OptionError(f"workers={workers!r} is negative; 0 encodes in the calling thread.")


def _has_codec(compression: str) -> bool:
    return compression in ("snappy", "zstd", "lz4", "gzip", "brotli") and pa.Codec.is_available(compression)


def schema_for(commit: Commit, schema: Unischema | None) -> Unischema:
    """The schema to write by: for an append the dataset's. Raises `SchemaMismatchError` if `schema` differs from it."""
    old = commit.existing
    if schema is not None and not isinstance(schema, Unischema):
        raise OptionError(f"schema= takes a Unischema, not {type(schema).__name__}.")
    if commit.mode != "append" or old is None:
        if schema is None:
            raise OptionError("schema=None needs mode='append' and a dataset to append to.")
        return schema
    codecs = {type(field.codec) for field in schema or () if field.codec is not None}
    if old.kind == "tfpetastorm":
        stored = Unischema.from_json(old.pairs[UNISCHEMA_KEY].decode(), codecs)
    else:
        stored = read_pickled_schema(old.pairs[PETASTORM_UNISCHEMA_KEY], codecs)
    if schema is None:
        return stored
    mine, theirs = dict(schema.fields), dict(stored.fields)
    for name in {**theirs, **mine}:
        if mine.get(name) != theirs.get(name):
            raise SchemaMismatchError(
                describe(
                    "what is appended has another schema than the dataset",
                    Place(field=name, file=old.path),
                    expected=theirs.get(name, "no such field"),
                    found=mine.get(name, "no such field"),
                    remedy="Give schema=None to use the dataset's own.",
                )
            )
    return stored


def check_partitions(schema: Unischema, partition_by: Sequence[str]) -> tuple[str, ...]:
    """The fields that name folders, as a tuple. Raises `OptionError` if one can't."""
    names = (partition_by,) if isinstance(partition_by, str) else tuple(partition_by)
    for name in names:
        if name not in schema.fields:
            raise OptionError(f"partition_by names {name!r}, which is no field. Fields: {', '.join(schema.fields)}.")
        field = schema.fields[name]
        if field.shape or field.dtype.kind == "f" or field.kind == "datetime":
            raise OptionError(f"field {name!r} can't name folders: only text, integers, bools, dates, decimals.")
    if len(set(names)) < len(names) or len(names) == len(schema):
        raise OptionError(f"partition_by={list(names)} must name some of the fields, each once, and leave one.")
    return names


def check_layout(commit: Commit, partition_by: tuple[str, ...]) -> None:
    """Raise `SchemaMismatchError` if the dataset appended to has other partition folders."""
    if commit.mode != "append" or not commit.files:
        return
    found = tuple(partition_of(next(iter(commit.files))))
    if found != partition_by:
        raise SchemaMismatchError(
            describe("what is appended is partitioned otherwise", expected=list(found), found=list(partition_by))
        )

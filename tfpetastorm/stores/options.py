"""Filesystems by the options that petastorm's users give: `storage_options=`, `hdfs_driver=`."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping
from typing import Any

from tfpetastorm.errors import MissingPackageError, OptionError
from tfpetastorm.redaction import redact

#: s3fs tries five times by itself, whatever botocore, below it, has tried: as they are, a server that accepts and never
#: answers would be waited for 25 times a minute.
_S3_LIMITS: dict[str, Any] = {"connect_timeout": 10, "read_timeout": 10, "retries": {"max_attempts": 1}}


def with_limits(url: str, storage_options: Mapping[str, Any]) -> dict[str, Any]:
    """The options for a URL's filesystem, with limits of waiting for s3fs where they set none."""
    options = dict(storage_options)
    if url.partition("://")[0].lower() in ("s3", "s3a"):
        given = options.get("config_kwargs") or {}
        if isinstance(given, Mapping):
            # A copy: botocore writes in what it is given.
            options["config_kwargs"] = {**copy.deepcopy(_S3_LIMITS), **given}
    return options


def filesystem_of(url: Any, storage_options: Mapping[str, Any] | None) -> Any:
    """The fsspec filesystem of a URL (or of the first of a list), made with these options; None if there are none.

    Raises OptionError if the filesystem does not take them, MissingPackageError if fsspec is not installed. No message
    repeats an option's value.
    """
    if not storage_options:
        return None
    first = url if isinstance(url, str) or not isinstance(url, (list, tuple)) else url[0]
    try:
        fsspec = importlib.import_module("fsspec")
    except ImportError:
        raise MissingPackageError("storage_options= is for fsspec: pip install 'tfpetastorm[fsspec]'.") from None
    try:
        return fsspec.core.url_to_fs(str(first), **with_limits(str(first), storage_options))[0]
    except Exception as error:  # noqa: BLE001 - whatever a third-party filesystem raises; its message may hold a secret
        names = ", ".join(storage_options)
        raise OptionError(
            f"can't open {redact(str(first))} with storage_options of {names}: {type(error).__name__}."
        ) from None

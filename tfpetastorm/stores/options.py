"""Filesystems by the options that petastorm's users give: `storage_options=`, `hdfs_driver=`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from tfpetastorm.errors import MissingPackageError, OptionError
from tfpetastorm.redaction import redact


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
        return fsspec.core.url_to_fs(str(first), **storage_options)[0]
    except Exception as error:  # noqa: BLE001 - whatever a third-party filesystem raises; its message may hold a secret
        names = ", ".join(storage_options)
        raise OptionError(
            f"can't open {redact(str(first))} with storage_options of {names}: {type(error).__name__}."
        ) from None

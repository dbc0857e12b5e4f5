"""`petastorm.utils`: single rows, a call in a process of its own, and metadata."""

from __future__ import annotations

from typing import Any

from tfpetastorm.errors import DecodeFieldError as DecodeFieldError
from tfpetastorm.pool.call import run_in_subprocess as run_in_subprocess
from tfpetastorm.schema.petastorm_fields import decode_row as decode_row
from tfpetastorm.stores.filesystem import Location, resolve
from tfpetastorm.writing.adopt import add_metadata

__all__ = ["DecodeFieldError", "add_to_dataset_metadata", "decode_row", "run_in_subprocess"]


def add_to_dataset_metadata(dataset: Any, key: str | bytes, value: str | bytes) -> None:
    """Add a key and value to a dataset's metadata, which is replaced in one step.

    dataset: what `open_dataset` gave, or a URL or path. Raises OptionError for keys that say what the dataset is.
    """
    opened = hasattr(dataset, "root") and hasattr(dataset, "filesystem")
    location = Location(dataset.filesystem, (dataset.root,), dataset.url) if opened else resolve(dataset, glob=False)
    encoded = {_bytes(key): _bytes(value)}
    add_metadata(location, encoded)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)

"""Petastorm's readers over this library's engine: rows as namedtuples, row groups as batches of arrays."""

from __future__ import annotations

from tfpetastorm.reader.factories import make_batch_reader, make_reader
from tfpetastorm.reader.reader import Reader
from tfpetastorm.stores.petastorm_urls import normalize_dataset_url_or_urls

__all__ = [
    "LOCAL_DISK_CACHE",
    "NULL_CACHE",
    "Reader",
    "make_batch_reader",
    "make_reader",
    "normalize_dataset_url_or_urls",
]

#: Values of `cache_type=`.
NULL_CACHE = "null"
LOCAL_DISK_CACHE = "local-disk"

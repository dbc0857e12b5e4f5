"""Petastorm's `pytorch`."""

from __future__ import annotations

from tfpetastorm.torch.collate import decimal_friendly_collate
from tfpetastorm.torch.collate import sanitize_unsupported as _sanitize_pytorch_types
from tfpetastorm.torch.in_memory import InMemBatchedDataLoader
from tfpetastorm.torch.in_memory import load_rows as _load_rows_into_mem
from tfpetastorm.torch.loaders import BatchedDataLoader, DataLoader, LoaderBase

__all__ = [
    "BatchedDataLoader",
    "DataLoader",
    "InMemBatchedDataLoader",
    "LoaderBase",
    "_load_rows_into_mem",
    "_sanitize_pytorch_types",
    "decimal_friendly_collate",
]

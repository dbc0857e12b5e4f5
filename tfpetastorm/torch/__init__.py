"""PyTorch: petastorm's loaders over a reader, and a dataset for PyTorch's own `DataLoader`. Needs the extra `torch`."""

from __future__ import annotations

from tfpetastorm.torch.collate import decimal_friendly_collate
from tfpetastorm.torch.dataset import ParquetDataset
from tfpetastorm.torch.in_memory import InMemBatchedDataLoader
from tfpetastorm.torch.loaders import BatchedDataLoader, DataLoader, LoaderBase

__all__ = [
    "BatchedDataLoader",
    "DataLoader",
    "InMemBatchedDataLoader",
    "LoaderBase",
    "ParquetDataset",
    "decimal_friendly_collate",
]

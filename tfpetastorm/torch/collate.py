"""Rows to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from tfpetastorm.torch.tensors import promoted


def decimal_friendly_collate(batch: Any) -> Any:
    """PyTorch's `default_collate`, which can also put together what it refuses: Decimals, text, bytes and missing text
    come as sequences of themselves. Mappings and sequences are put together item by item.

    Raises TypeError where a number or an array is missing.
    """
    return _collate(batch, "the batch")


def _collate(batch: Any, name: str) -> Any:
    first = next((item for item in batch if item is not None), None)
    if isinstance(first, (Decimal, str, bytes)):
        return batch
    if first is None or any(item is None for item in batch):
        raise TypeError(
            f"Pytorch does not support nullable fields. Found None in {name}. "
            "Fill it by a TransformSpec, leave the field out, or use a collate_fn of your own."
        )
    if isinstance(first, Mapping):
        return {key: _collate([item[key] for item in batch], str(key)) for key in first}
    if isinstance(first, np.ndarray) and first.dtype.kind in "SUO":
        return [item.tolist() for item in batch]
    if isinstance(first, (np.datetime64, np.timedelta64)):
        return default_collate([item.astype(np.int64) for item in batch])
    if isinstance(first, Sequence):
        return [_collate(items, name) for items in zip(*batch, strict=True)]
    return default_collate(batch)


def sanitize(row: dict[str, Any]) -> None:
    """Promotes, in place, the arrays and bools of a row to dtypes that PyTorch computes with."""
    for name, value in row.items():
        if isinstance(value, np.ndarray) and value.dtype.kind not in "SUO":
            row[name] = promoted(value)
        elif isinstance(value, np.bool_):
            row[name] = np.uint8(value)


def sanitize_unsupported(row: dict[str, Any]) -> None:
    """The same, but leaves integers for which this PyTorch has a dtype, even where it can hardly compute with it."""
    kept = {
        name: value
        for name, value in row.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and hasattr(torch, value.dtype.name)
    }
    sanitize(row)
    row.update(kept)

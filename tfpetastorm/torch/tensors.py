"""Columns of a reader as tensors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import torch

from tfpetastorm.errors import OptionError
from tfpetastorm.schema.columns import Array

#: What PyTorch can't compute with becomes what can hold it, as petastorm does it.
_PROMOTED = {"uint16": "int32", "uint32": "int64", "bool": "uint8"}


def promoted(values: Array) -> Array:
    """`values` in a dtype that PyTorch computes with: uint16 as int32, uint32 as int64, bool as uint8, datetimes as
    int64 in their unit; all others as they are."""
    if values.dtype.kind in "mM":
        return np.asarray(values.view(np.int64))
    wider = _PROMOTED.get(values.dtype.name)
    return values if wider is None else values.astype(wider)


def tensor_or_list(name: str, values: Array) -> Any:
    """A column `[rows, *shape]` as a tensor; text, bytes and Decimals as lists of `rows`; arrays of different shapes
    as a list of tensors, stacked where all have one shape.

    Raises TypeError, as petastorm does, if a number or an array is missing.
    """
    values = np.asarray(values)
    if values.dtype.kind in "SU":
        return values.tolist()
    if values.dtype != object:
        return as_tensor(promoted(values))
    cells = values.tolist()
    known = [cell for cell in cells if cell is not None]
    if all(isinstance(cell, (str, bytes, Decimal)) for cell in known) and known:
        return cells
    if len(known) < len(cells):
        raise TypeError(
            f"Pytorch does not support nullable fields. Found None in {name}. "
            "Fill it by a TransformSpec, leave the field out, or use a collate_fn of your own."
        )
    arrays = [np.asarray(cell) for cell in cells]
    if any(array.dtype.kind in "SUO" for array in arrays):
        return [array.tolist() for array in arrays]
    if len({array.shape for array in arrays}) == 1:
        return as_tensor(promoted(np.stack(arrays)))
    return [as_tensor(promoted(array)) for array in arrays]


def as_tensor(values: Array) -> Any:
    """A tensor of an array's values: of its memory where that may be written to, else of a copy."""
    if not values.flags.writeable or not values.flags.c_contiguous or not values.dtype.isnative:
        values = np.array(values, values.dtype.newbyteorder("="), order="C")
    try:
        return torch.from_numpy(values)
    except TypeError as error:
        raise OptionError(f"PyTorch {torch.__version__} has no tensors of {values.dtype}: {error}") from None

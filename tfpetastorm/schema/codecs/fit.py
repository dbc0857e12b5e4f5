"""Whether a value is one of a field's cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfpetastorm.schema.codecs.base import BadCellError
from tfpetastorm.schema.dtypes import dtype_name

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField


def fits(field: UnischemaField, shape: tuple[int, ...]) -> bool:
    """Whether a cell of this shape is one of the field's."""
    return len(shape) == len(field.shape) and all(
        size is None or size == found for size, found in zip(field.shape, shape, strict=True)
    )


def describe_field(field: UnischemaField) -> str:
    """The field's dtype and shape, for messages."""
    return f"{dtype_name(field.numpy_dtype)} of shape {field.shape}" if field.shape else dtype_name(field.numpy_dtype)


def as_cell_array(field: UnischemaField, value: Any) -> Any:
    """One cell as an array of the field's shape; text, bytes, decimals and dates as an object array.

    Raises BadCellError for another shape.
    """
    if isinstance(value, np.ndarray):
        array = value
    elif field.kind == "number":
        try:
            array = np.asarray(value)
        except ValueError:
            raise BadCellError(describe_field(field), f"ragged {type(value).__name__}") from None
        if array.size == 0:
            array = array.astype(field.dtype)
    else:
        array = np.asarray(value, dtype=object)
    if not fits(field, array.shape):
        raise BadCellError(describe_field(field), f"{array.dtype} of shape {array.shape}", "Unexpected dimensions")
    return array

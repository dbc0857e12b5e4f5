"""CompressedNdarrayCodec: a cell is an array in `.npz` format, a ZIP file with one deflated member."""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from tfpetastorm.schema.codecs.base import Codec, Limits, OnBad, UnsafeReason
from tfpetastorm.schema.codecs.cells import CellBudget, EncodedCells, gather
from tfpetastorm.schema.codecs.ndarray import check_no_decimals, decode_npy, stored_array
from tfpetastorm.schema.codecs.npy import MAX_HEADER, make_header
from tfpetastorm.schema.codecs.zip_member import only_member
from tfpetastorm.schema.columns import Array, Column

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField

_MEMBER = "arr.npy"


@dataclass(frozen=True)
class CompressedNdarrayCodec(Codec):
    """An array as `numpy.savez_compressed(arr=…)` writes it. Stored as binary.

    What a cell would expand to is read before it is expanded: more than its field's shape needs, or, for an open
    shape, than `Limits.max_cell_bytes`, is refused.
    """

    codec_name: ClassVar[str] = "compressed_ndarray"

    def check(self, field: UnischemaField) -> None:
        """Raise SchemaError if this codec can't hold `field`."""
        check_no_decimals(field, self)

    def encode(self, field: UnischemaField, value: Any) -> bytes:
        """One cell as it is stored. Raises BadCellError if `value` is not the field's."""
        array = stored_array(field, value)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            # A fixed time stamp, so that the same array is always the same bytes.
            member = zipfile.ZipInfo(_MEMBER)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, make_header(array.dtype, array.shape) + array.tobytes())
        return packed.getvalue()

    def decode_column(self, field: UnischemaField, array: pa.Array, on_bad: OnBad, *, limits: Limits) -> Column:
        """All rows of one column; `on_bad` hears of each cell that can't be decoded."""
        encoded = EncodedCells(field, array)
        cells: list[Any] = [None] * encoded.count
        budget = CellBudget(limits)
        for row in encoded.rows.tolist():
            expanded = _expand(field, encoded[row], limits, budget)
            cell = expanded if isinstance(expanded, str) else decode_npy(field, expanded, limits)
            if isinstance(cell, str):
                on_bad(row, cell)
            else:
                cells[row] = cell
        return gather(field, cells, encoded.valid)


def _expand(field: UnischemaField, cell: Array, limits: Limits, budget: CellBudget) -> Array | str:
    """The `.npy` file inside, uint8 `[bytes]`; or why there is none."""
    if field.ragged_rank or field.is_text:
        bound = limits.max_cell_bytes
    else:
        bound = math.prod(field.inner_shape) * field.dtype.itemsize
    bound += MAX_HEADER
    member = only_member(cell.tobytes())
    if isinstance(member, str):
        return member
    if member.name != _MEMBER:
        return f"expected an .npz file with {_MEMBER!r} in it, found {member.name!r}"
    if member.size > bound:
        return UnsafeReason(f"it would expand to {member.size} bytes, more than the {bound} its field allows")
    if (field.ragged_rank or field.is_text) and (problem := budget.take(member.size)) is not None:
        return problem
    expanded = member.expand()
    return expanded if isinstance(expanded, str) else np.frombuffer(expanded, np.uint8)

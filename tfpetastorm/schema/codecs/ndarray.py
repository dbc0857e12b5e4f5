"""NdarrayCodec: a cell is an array in `.npy` format."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import EncodeError, Place, SchemaError, describe
from tfpetastorm.schema.codecs.assemble import ragged_column
from tfpetastorm.schema.codecs.base import BadCellError, Cells, Codec, Limits, OnBad, encode_cells
from tfpetastorm.schema.codecs.cells import (
    CellBudget,
    EncodedCells,
    cell_cost,
    gather,
    lengths_of,
    shape_problem,
    text_cell,
)
from tfpetastorm.schema.codecs.fit import as_cell_array, describe_field, fits
from tfpetastorm.schema.codecs.lists_encode import items_of
from tfpetastorm.schema.codecs.native import native_scalar_type
from tfpetastorm.schema.codecs.npy import NpyHeader, array_under, make_header, read_header
from tfpetastorm.schema.codecs.scalars import encode_scalar
from tfpetastorm.schema.columns import Array, Column, empty_aligned

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField


@dataclass(frozen=True)
class NdarrayCodec(Codec):
    """An array of any dtype a field can have but Decimal, as `numpy.save` writes it. Stored as binary.

    Both byte orders and Fortran order are read. The dtype and shape of each cell are checked against the field.
    """

    codec_name: ClassVar[str] = "ndarray"

    def check(self, field: UnischemaField) -> None:
        """Raise SchemaError if this codec can't hold `field`."""
        check_no_decimals(field, self)

    def encode(self, field: UnischemaField, value: Any) -> bytes:
        """One cell as it is stored. Raises BadCellError if `value` is not the field's."""
        array = stored_array(field, value)
        return make_header(array.dtype, array.shape) + array.tobytes()

    def encode_column(self, field: UnischemaField, values: Cells) -> pa.Array:
        """All cells of one column, None for null. Raises EncodeError naming field and row."""
        shape = None if field.is_text else _common_shape(field, values)
        if shape is not None and fits(field, shape):
            return _encode_alike(field, values, shape)
        return encode_cells(field, values, self.encode, pa.binary())

    def decode_column(self, field: UnischemaField, array: pa.Array, on_bad: OnBad, *, limits: Limits) -> Column:
        """All rows of one column; `on_bad` hears of each cell that can't be decoded."""
        encoded = EncodedCells(field, array)
        if not field.is_text:
            column = _decode_alike(field, encoded)
            if column is not None:
                return column
            if field.ragged_rank:
                return _decode_ragged(field, encoded, on_bad, limits)
        cells: list[Any] = [None] * encoded.count
        for row in encoded.rows:
            cell = decode_npy(field, encoded[row], limits)
            if isinstance(cell, str):
                on_bad(int(row), cell)
            else:
                cells[row] = cell
        return gather(field, cells, encoded.valid)


def check_no_decimals(field: UnischemaField, codec: Codec) -> None:
    """Raise SchemaError for a field of Decimals, which `.npy` could hold only as pickles."""
    if field.numpy_dtype is Decimal:
        raise SchemaError(
            describe(
                f"{type(codec).__name__} can't hold Decimals",
                Place(field=field.name),
                remedy="Use ScalarCodec('decimal128(p, s)'), or no codec.",
            )
        )


def stored_array(field: UnischemaField, value: Any) -> Array:
    """A cell as the contiguous array that `.npy` holds. Raises BadCellError if it is not the field's."""
    array = as_cell_array(field, value)
    if field.is_text:
        return _text_array(field, array)
    if array.dtype != field.dtype:
        converted = _converted(field, value, array)
        if converted is None:
            raise BadCellError(describe_field(field), f"{array.dtype} of shape {array.shape}")
        array = converted
    return np.asarray(array, field.dtype, order="C")


def _converted(field: UnischemaField, value: Any, array: Array) -> Array | None:
    # Arrays must have the field's dtype, as in petastorm; only lists, which have none, are converted.
    if field.dtype.kind == "M" and array.dtype.kind in "MO":
        if array.dtype == object:
            return _times(field, array)
        converted = array.astype(field.dtype)
        return converted if bool(((converted.astype(array.dtype) == array) | np.isnat(array)).all()) else None
    if array.dtype.newbyteorder("=") == field.dtype:
        return array.astype(field.dtype)
    if isinstance(value, np.ndarray):
        return None
    kinds = {"i": "iu", "u": "iu", "f": "iuf"}.get(field.dtype.kind, "")
    if array.dtype.kind not in kinds:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(field.dtype)
    if field.dtype.kind == "f":
        return converted if bool((np.isinf(converted) <= np.isinf(array)).all()) else None
    return converted if converted.tolist() == array.tolist() else None


def _times(field: UnischemaField, array: Any) -> Array:
    items, storage = items_of(field), native_scalar_type(field)
    ticks = [encode_scalar(items, item, storage) for item in array.reshape(-1).tolist()]
    missing = np.iinfo(np.int64).min  # NaT
    found = np.array([missing if tick is None else tick for tick in ticks], np.int64)
    return np.asarray(found.view(field.dtype).reshape(array.shape))


def _text_array(field: UnischemaField, array: Any) -> Array:
    wanted = str if field.kind == "text" else bytes
    items = array.reshape(-1).tolist()
    for item in items:
        if not isinstance(item, wanted):
            raise BadCellError(describe_field(field), f"an item of {type(item).__name__}")
        if item[-1:] in ("\0", b"\0"):
            # NumPy pads with NULs, so those at the end would be lost on the way back.
            raise BadCellError("items that don't end in NUL, which .npy can't keep", repr(item))
    return np.asarray(np.array(items, np.str_ if field.kind == "text" else np.bytes_).reshape(array.shape))


def _common_shape(field: UnischemaField, values: Cells) -> tuple[int, ...] | None:
    """The shape of all cells, if they are arrays of one shape and the field's dtype; else None."""
    if isinstance(values, np.ndarray):
        return values.shape[1:] if values.dtype == field.dtype and len(values) else None
    shape: tuple[int, ...] | None = values[0].shape if len(values) and isinstance(values[0], np.ndarray) else None
    alike = all(type(cell) is np.ndarray and cell.dtype == field.dtype and cell.shape == shape for cell in values)
    return shape if alike else None


def _encode_alike(field: UnischemaField, values: Cells, shape: tuple[int, ...]) -> pa.Array:
    """Arrays of one shape, each copied once."""
    header = np.frombuffer(make_header(field.dtype, shape), np.uint8)
    cell = np.dtype([("header", np.uint8, len(header)), ("array", field.dtype, shape)])
    if len(values) * cell.itemsize > np.iinfo(np.int32).max:
        raise EncodeError(
            describe(
                "A column is too big for one Arrow array",
                Place(field=field.name),
                expected="less than 2 GiB",
                found=f"{len(values) * cell.itemsize} bytes",
                remedy="Write fewer rows at once.",
            )
        )
    cells = np.empty(len(values), cell)
    cells["header"] = header
    if isinstance(values, np.ndarray):
        cells["array"] = values
    else:
        np.stack(values, out=cells["array"])
    offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(cell.itemsize)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(cells.view(np.uint8))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def _decode_alike(field: UnischemaField, encoded: EncodedCells) -> Column | None:
    """All cells at once, if their headers are the same bytes; else None. The hot path: no Python per row."""
    count = len(encoded.rows)
    if not count:
        return None
    starts, ends = encoded.offsets[:-1], encoded.offsets[1:]
    if encoded.valid is not None:
        starts, ends = starts[encoded.valid], ends[encoded.valid]
    width = int(ends[0] - starts[0])
    if not width or (ends - starts != width).any() or (starts[1:] != ends[:-1]).any():
        return None
    header = read_header(encoded[int(encoded.rows[0])])
    if (
        isinstance(header, str)
        or field.ragged_rank
        or header.shape != field.shape
        or width - header.start != header.nbytes
    ):
        return None
    if header.dtype.newbyteorder("=") != field.dtype:
        return None
    cells = encoded.data[int(starts[0]) : int(ends[-1])].reshape(count, width)
    if (cells[:, : header.start] != cells[0, : header.start]).any():
        return None
    return Column(_unpacked(field, header, cells[:, header.start :], encoded), (), encoded.valid, field.inner_shape)


def _unpacked(field: UnischemaField, header: NpyHeader, bodies: Array, encoded: EncodedCells) -> Array:
    # bodies: uint8 [rows present, bytes of a cell], rows `header.start` bytes apart.
    values = empty_aligned((encoded.count, *field.inner_shape), field.dtype)
    if not header.nbytes:
        return values
    plain = header.dtype == field.dtype and (not header.fortran or len(header.shape) < 2)
    if plain:
        slots = values.reshape(encoded.count, -1).view(np.uint8).reshape(encoded.count, header.nbytes)
        if encoded.valid is None:
            slots[...] = bodies
        else:
            slots[encoded.valid] = bodies
            slots[~encoded.valid] = 0
        return values
    arrays = np.ascontiguousarray(bodies).view(header.dtype)
    if header.fortran:
        axes = (0, *range(len(header.shape), 0, -1))
        arrays = arrays.reshape(len(bodies), *header.shape[::-1]).transpose(axes)
    values[encoded.rows] = arrays.reshape(len(bodies), *header.shape)
    if encoded.valid is not None:
        values[~encoded.valid] = np.zeros((), field.dtype)
    return values


def _decode_ragged(field: UnischemaField, encoded: EncodedCells, on_bad: OnBad, limits: Limits) -> Column:
    headers: dict[bytes, NpyHeader | str] = {}
    budget = CellBudget(limits)
    present = np.zeros(encoded.count, np.bool_)
    shapes: list[tuple[int, ...]] = []
    found: list[tuple[NpyHeader, int]] = []
    for row in encoded.rows.tolist():
        header = _checked_header(field, encoded, row, headers, limits)
        if isinstance(header, str):
            on_bad(row, header)
            continue
        # Data costs what is stored, so only shapes without data can be bombs.
        problem = None if header.nbytes else budget.take(cell_cost(field, header.shape, 0))
        if problem is not None:
            on_bad(row, problem)
            continue
        present[row] = True
        shapes.append(header.shape)
        found.append((header, int(encoded.offsets[row]) + header.start))
    table = np.array(shapes, np.int64).reshape(len(shapes), len(field.shape))
    items = np.prod(table, axis=1)
    flat = empty_aligned((int(items.sum()),), field.dtype)
    stops = np.cumsum(items).tolist()
    raw = flat.view(np.uint8)
    start = 0
    itemsize = field.dtype.itemsize
    for (header, position), stop in zip(found, stops, strict=True):
        body = encoded.data[position : position + header.nbytes]
        if header.fortran or header.dtype != field.dtype:
            flat[start:stop] = array_under(header, body).reshape(-1)
        else:
            raw[start * itemsize : stop * itemsize] = body
        start = stop
    lengths = lengths_of(field, table)
    rows = int(lengths[-1].sum())
    return ragged_column(field, lengths, flat.reshape(rows, *field.inner_shape), present, encoded.valid)


def _checked_header(
    field: UnischemaField, encoded: EncodedCells, row: int, headers: dict[bytes, NpyHeader | str], limits: Limits
) -> NpyHeader | str:
    cell = encoded[row]
    start = cell[:12].tobytes()
    length = (10 + start[8] + 256 * start[9]) if len(start) == 12 and start[6] == 1 else 0
    key = cell[:length].tobytes() if length else b""
    header = headers.get(key)
    if header is None:
        header = read_header(cell)
        if not isinstance(header, str):
            problem = header_problem(field, header, limits)
            header = problem if problem is not None else header
        if key:
            headers[key] = header
    if not isinstance(header, str) and len(cell) - header.start != header.nbytes:
        return length_problem(header, len(cell) - header.start)
    return header


def header_problem(field: UnischemaField, header: NpyHeader, limits: Limits) -> str | None:
    """Why an array under this header is not the field's, or None."""
    kind = {"text": "U", "bytes": "S"}.get(field.kind)
    alike = header.dtype.kind == kind if kind else header.dtype.newbyteorder("=") == field.dtype
    if not alike:
        return f"expected {describe_field(field)}, found {header.dtype}"
    return shape_problem(field, header.shape, header.dtype.itemsize, limits)


def length_problem(header: NpyHeader, found: int) -> str:
    """What to say of a cell whose data is shorter or longer than its header says."""
    return f"expected {header.nbytes} bytes of data for shape {header.shape}, found {found}"


def decode_npy(field: UnischemaField, cell: Array, limits: Limits) -> Any:
    """One cell, uint8 `[bytes]`, as `gather` takes it; or a str that says why it is bad."""
    header = read_header(cell)
    if isinstance(header, str):
        return header
    problem = header_problem(field, header, limits)
    if problem is None and len(cell) - header.start != header.nbytes:
        problem = length_problem(header, len(cell) - header.start)
    if problem is not None:
        return problem
    array = array_under(header, cell[header.start :])
    if not field.is_text:
        return array
    try:
        return text_cell(field, np.ascontiguousarray(array).astype(object).reshape(array.shape))
    except ValueError as error:  # code points that are not Unicode
        return str(error)

"""What a writer is given, checked against the schema and cut into chunks that are encoded one by one, in threads."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import EncodeError, Place, describe
from tfpetastorm.schema.codecs import encode_column
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.listing import HIVE_NULL
from tfpetastorm.storage.partitions import folder_value

#: Cells of one column: an array `[rows, …]`, an Arrow array, or a list with None for null.
Cells: TypeAlias = Any

#: What Spark escapes in the names of partition folders: neither more, as petastorm doesn't unescape, nor less.
_SPECIAL = re.compile(r"""[\x01-\x1f\x7f"#%'*/:=?\\{\[\]^]""")
_ROW = re.compile(r"\brow (\d+)(?=\))")
_SHARED_OR_MUTABLE = (np.ndarray, list, bytearray, memoryview)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive rows, not yet encoded. first_row: of what the user gave. origin: which call that was, for errors."""

    columns: Mapping[str, Cells]
    rows: int
    first_row: int
    origin: str = ""


@dataclass(frozen=True, eq=False)
class Part:
    """Encoded rows that go to one partition folder ("" for none): the columns that files hold."""

    folder: str
    batch: pa.RecordBatch


def check_keys(schema: Unischema, given: Mapping[str, Any], row: int | None) -> None:
    """Raise `EncodeError` for a key that is no field, and for a missing one that isn't nullable."""
    if given.keys() == schema.fields.keys():
        return
    unknown = [name for name in given if name not in schema.fields]
    if unknown:
        what = "a value has no field in the schema"
        place = Place(row=row, field=str(unknown[0]))
        raise EncodeError(describe(what, place, expected=f"fields {', '.join(schema.fields)}", found=unknown[0]))
    for field in schema:
        if field.name not in given and not field.nullable:
            raise EncodeError(
                describe(
                    "a field that is not nullable has no value",
                    Place(row=row, field=field.name),
                    expected=field,
                    found="no such key",
                    remedy="Give a value, or declare it nullable=True.",
                )
            )


def own(cells: Cells) -> Cells:
    """`cells` such that a caller who uses an array again for the next row doesn't change what was written."""
    if isinstance(cells, np.ndarray):
        return cells.copy() if cells.dtype != object else own(list(cells))
    if isinstance(cells, (list, tuple)):
        return [copy.deepcopy(cell) if isinstance(cell, _SHARED_OR_MUTABLE) else cell for cell in cells]
    return cells


def size_of(cells: Cells, rows: int) -> int:
    """About how many bytes `cells` take, from the first of them."""
    if isinstance(cells, (pa.Array, pa.ChunkedArray)) or (isinstance(cells, np.ndarray) and cells.dtype.kind != "O"):
        return int(cells.nbytes)
    return rows * max((cell_size(cell) for cell in cells[:16]), default=1)


def cell_size(cell: Any) -> int:
    """About how many bytes one cell takes."""
    if isinstance(cell, np.ndarray):
        return int(cell.nbytes)
    if isinstance(cell, (str, bytes, bytearray)):
        return len(cell) + 8
    return 8 * len(cell) if isinstance(cell, (list, tuple)) else 8


def encode_chunk(schema: Unischema, partition_by: Sequence[str], chunk: Chunk) -> list[Part]:
    """The chunk as Arrow, one part for each partition folder in order of first appearance, rows in order.

    Raises `EncodeError` naming field, row as the user counts it, expected and found.
    """
    arrays = {field.name: _encode(field, chunk) for field in schema}
    stored = [field for field in schema if field.name not in partition_by]
    columns = pa.schema([pa.field(f.name, arrays[f.name].type, f.nullable) for f in stored])
    return split_by_folder(schema, partition_by, arrays, columns)


def split_by_folder(
    schema: Unischema, partition_by: Sequence[str], arrays: Mapping[str, pa.Array], columns: pa.Schema
) -> list[Part]:
    """Encoded columns cut by partition folder, in order of first appearance, rows in order.

    arrays: by field, those of `partition_by` too. columns: what files hold. Raises `EncodeError` naming a field whose
    value can't name a folder.
    """
    batch = pa.RecordBatch.from_arrays([arrays[name] for name in columns.names], schema=columns)
    if not partition_by:
        return [Part("", batch)]
    folders = _folders([schema.fields[name] for name in partition_by], arrays)
    names, first, group = np.unique(folders, return_index=True, return_inverse=True)
    if len(names) == 1:
        return [Part(str(names[0]), batch)]
    parts = []
    for i in np.argsort(first):
        rows = pa.array(np.flatnonzero(group.reshape(-1) == i))
        taken = [take_rows(column, rows) for column in batch.columns]
        parts.append(Part(str(names[i]), pa.RecordBatch.from_arrays(taken, schema=columns)))
    return parts


def _encode(field: UnischemaField, chunk: Chunk) -> pa.Array:
    cells = chunk.columns.get(field.name)
    try:
        array = encode_column(field, [None] * chunk.rows if cells is None else cells)
    except EncodeError as error:
        # Codecs count from the start of what they are given.
        message = _ROW.sub(lambda match: f"row {int(match.group(1)) + chunk.first_row}{chunk.origin}", str(error), 1)
        raise EncodeError(message) from error.__cause__
    if len(array) != chunk.rows:
        raise EncodeError(
            describe(
                "a codec changed the number of rows", Place(field=field.name), expected=chunk.rows, found=len(array)
            )
        )
    return array


def take_rows(array: pa.Array, rows: pa.Array) -> pa.Array:
    """Some rows of a column, by their numbers."""
    # Extension arrays such as tensors have no kernel of their own everywhere.
    if isinstance(array.type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(array.type, array.storage.take(rows))
    return array.take(rows)


def _folders(fields: list[UnischemaField], arrays: Mapping[str, pa.Array]) -> Any:
    """The folder of each row, `key=value` a field, object `[rows]`."""
    paths: Any = None
    for field in fields:
        codes = arrays[field.name].dictionary_encode()
        names = [_folder(field, value) for value in codes.dictionary.to_pylist()]
        # The last name is that of nulls.
        names.append(f"{_escaped(field.name)}={HIVE_NULL}")
        indices = codes.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
        level = np.array(names, object)[indices]
        paths = level if paths is None else paths + "/" + level
    return paths.astype(str)


def _folder(field: UnischemaField, value: Any) -> str:
    text = folder_value(field, value)
    if text in (HIVE_NULL, "") or "\0" in text:
        what = "a value can't be the name of a partition folder"
        raise EncodeError(describe(what, Place(field=field.name), found=repr(text), expected="any other text"))
    return f"{_escaped(field.name)}={_escaped(text)}"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"%{ord(match.group()):02X}", text)

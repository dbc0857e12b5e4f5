"""Plain Python values as JSON and arrays, and back. Nothing is pickled: what is not plain is refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import EncodeError, describe
from tfpetastorm.read.layout import Layout, array_at

_TAGGED: dict[str, Callable[[str], Any]] = {
    "decimal": Decimal,
    "date": dt.date.fromisoformat,
    "datetime": dt.datetime.fromisoformat,
    "int": int,
}


def to_json(value: Any, layout: Layout) -> Any:
    """A value as JSON; its arrays and bytes go to `layout`.

    None, bool, int, float, str, bytes, Decimal, date and datetime; NumPy's scalars and arrays of these; Arrow's tables
    and record batches; lists, tuples and dicts of all of them. Raises EncodeError for anything else.
    """
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return {"int": str(value)}
    if kind is float:
        return {"float": value.hex()}
    if kind in (Decimal, dt.date, dt.datetime):
        return {kind.__name__.lower(): str(value) if kind is Decimal else value.isoformat()}
    if kind in (bytes, bytearray):
        return {"bytes": layout.add(np.frombuffer(value, np.uint8))}
    if kind in (list, tuple):
        return {kind.__name__: [to_json(item, layout) for item in value]}
    if kind is dict:
        return {"dict": [[to_json(key, layout), to_json(item, layout)] for key, item in value.items()]}
    if isinstance(value, np.generic) and value.dtype.kind not in "OV":
        return {"scalar": layout.add(np.asarray(value))}
    if kind is np.ndarray and value.dtype.kind not in "OV":
        return {"array": layout.add(value)}
    if kind is np.ndarray and value.dtype == object:
        return {"objects": [list(value.shape), [to_json(item, layout) for item in value.reshape(-1).tolist()]]}
    if isinstance(value, (pa.Table, pa.RecordBatch)):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write(value)
        name = "table" if isinstance(value, pa.Table) else "batch"
        return {name: layout.add(np.frombuffer(sink.getvalue(), np.uint8))}
    raise EncodeError(
        describe(
            "A value can't be cached, since nothing is pickled",
            expected="plain values, NumPy arrays, Arrow tables, and lists, tuples and dicts of these",
            found=f"{kind.__module__}.{kind.__qualname__}",
            remedy="Cache what it is made of.",
        )
    )


def from_json(node: Any, buffer: Any, base: int) -> Any:
    """The value that `to_json` wrote. buffer, base: where the arrays are."""
    if not isinstance(node, dict):
        return node
    ((tag, part),) = node.items()
    if tag in _TAGGED:
        return _TAGGED[tag](part)
    if tag == "float":
        return float.fromhex(part)
    if tag == "list":
        return [from_json(item, buffer, base) for item in part]
    if tag == "tuple":
        return tuple(from_json(item, buffer, base) for item in part)
    if tag == "dict":
        return {from_json(key, buffer, base): from_json(item, buffer, base) for key, item in part}
    if tag == "objects":
        shape, items = part
        made = np.empty(len(items), object)
        for i, item in enumerate(items):
            made[i] = from_json(item, buffer, base)
        return made.reshape(shape)
    array = array_at(buffer, part, base)
    if tag == "bytes":
        return array.tobytes()
    if tag == "scalar":
        return array[()]
    if tag == "array":
        return array
    with pa.ipc.open_stream(pa.py_buffer(array)) as stream:
        return stream.read_all() if tag == "table" else stream.read_next_batch()

"""petastorm's pickled row-group index, read without unpickling.

What versions wrote: a dict from index names to `petastorm.etl.rowgroup_indexers.SingleFieldIndexer` (with
`_index_data`, from values to sets of row groups) or `FieldNotNullIndexer` (a set), row groups being numbers in a list
of all. Values are Python's, NumPy's scalars or Decimals; of Python 2, byte strings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from tfpetastorm.errors import SchemaError, UnsafeDataError, describe
from tfpetastorm.schema.petastorm_symbols import Instance, Symbol, read_symbols

#: The key in the footer of `_common_metadata` that holds the pickle.
INDEX_KEY = b"dataset-toolkit.rowgroups_index.v1"

#: An index of a few million values; beyond, reading takes minutes.
MAX_BYTES = 256 << 20

_MODULES = (
    "petastorm.etl.rowgroup_indexers",
    "av.experimental.deepdrive.dataset_toolkit.etl.rowgroup_indexers",
    "av.ml.dataset_toolkit.etl.rowgroup_indexers",
)
_KEYS = (str, bytes, int, float, bool, type(None), Decimal, np.generic)
_PLAIN_DTYPE = re.compile(r"[?biuf]\d{0,2}|[SU]\d{1,9}")


@dataclass(frozen=True)
class PickledIndex:
    """field: what is indexed. values: row-group numbers by value; None for an index of where the field is not null,
    whose row groups are `present`."""

    field: str
    values: Mapping[Any, frozenset[int]] | None
    present: frozenset[int] = frozenset()


def read_pickled_indexes(data: bytes) -> dict[str, PickledIndex]:
    """The indexes in petastorm's pickle, by name.

    Raises UnsafeDataError if it asks for anything but indexes, SchemaError if it is damaged.
    """
    stored = read_symbols(data, _called, _KEYS, MAX_BYTES, "row-group index")
    if not isinstance(stored, dict):
        raise SchemaError("A pickled row-group index is damaged: it is no dict.")
    return {str(name): _index(name, indexer) for name, indexer in stored.items()}


def _index(name: Any, indexer: Any) -> PickledIndex:
    kinds = {f"{module}.{kind}": kind for module in _MODULES for kind in ("SingleFieldIndexer", "FieldNotNullIndexer")}
    kind = kinds.get(indexer.kind.name) if isinstance(indexer, Instance) else None
    if kind is None:
        found = indexer.kind.name if isinstance(indexer, Instance) else type(indexer).__name__
        raise UnsafeDataError(
            describe(f"The pickled row-group index {name!r} is refused", expected="petastorm's indexers", found=found)
        )
    state = indexer.state if isinstance(indexer.state, dict) else {}
    field, rows = state.get("_column_name"), state.get("_index_data")
    if isinstance(field, str) and kind == "FieldNotNullIndexer" and isinstance(rows, set):
        return PickledIndex(field, None, frozenset(rows))
    sets = isinstance(rows, dict) and all(isinstance(groups, set) for groups in rows.values())
    if isinstance(field, str) and kind == "SingleFieldIndexer" and isinstance(rows, dict) and sets:
        return PickledIndex(field, {value: frozenset(groups) for value, groups in rows.items()})
    raise SchemaError(f"The pickled row-group index {name!r} is damaged.")


def _called(name: str, arguments: tuple[Any, ...]) -> Any:
    """What the functions that indexes call would return; NotImplemented for others."""
    if name == "collections.defaultdict" and arguments in [(Symbol(f"{m}.set"),) for m in ("builtins", "__builtin__")]:
        return {}
    if name in ("builtins.set", "__builtin__.set") and len(arguments) == 1 and _is_ints(arguments[0]):
        return set(arguments[0])
    if name == "decimal.Decimal" and len(arguments) == 1 and isinstance(arguments[0], str) and len(arguments[0]) < 200:
        return Decimal(arguments[0])
    if name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar") and len(arguments) == 2:
        dtype, raw = arguments
        if isinstance(dtype, Instance) and dtype.kind.name == "numpy.dtype" and isinstance(raw, (str, bytes)):
            return _scalar(dtype, raw if isinstance(raw, bytes) else raw.encode("latin1"))
    return NotImplemented


def _is_ints(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int for number in value)


def _scalar(dtype: Instance, raw: bytes) -> Any:
    code = dtype.arguments[0]
    state = dtype.state if isinstance(dtype.state, tuple) else ()
    order = state[1] if len(state) > 1 and state[1] in ("<", ">", "|", "=") else "<"
    if code in ("M8", "m8"):
        # The unit is the last of the state: ({}, (b'us', 1, 1, 1)).
        unit = state[8][1][0]
        unit = unit.decode() if isinstance(unit, bytes) else unit
        code = f"{code}[{unit}]"
        if unit not in ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns"):
            raise ValueError("a time of an unknown unit")
    elif not _PLAIN_DTYPE.fullmatch(code):
        raise ValueError(f"a value of dtype {code!r}")
    kind = np.dtype(code).newbyteorder(order)
    if kind.itemsize != len(raw):
        raise ValueError(f"a value of {len(raw)} bytes where its dtype has {kind.itemsize}")
    return np.frombuffer(raw, kind)[0] if kind.itemsize else kind.type()

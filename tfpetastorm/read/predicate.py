"""`where=`: which rows are read at all.

Three spellings become two kinds. DNF tuples and `pyarrow.compute` expressions become an `ExpressionPredicate`, which
also prunes row groups by statistics and hive partitions; a Python function on columns becomes a `ColumnPredicate`.
"""

from __future__ import annotations

import hashlib
import inspect
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from tfpetastorm.errors import OptionError, TransformError, describe
from tfpetastorm.schema.columns import Array
from tfpetastorm.storage.where import columns_of, to_expression


@dataclass(frozen=True, eq=False)
class ExpressionPredicate:
    """Rows for which a `pyarrow.compute` expression is true; null counts as false.

    fields: the scalar fields it names (a superset does no harm).
    """

    expression: pc.Expression
    fields: tuple[str, ...]

    @property
    def key(self) -> str:
        """A name that no other expression has, for caching counts. Only ever hashed: nothing is unpickled."""
        # Its text won't do: pyarrow leaves out the middle of a long list of values.
        return hashlib.sha256(pickle.dumps(self.expression)).hexdigest()

    def mask(self, table: pa.Table, rows: int) -> Array:
        """bool `[rows]` for a table that has `fields` as columns."""
        if not table.num_columns:
            # An expression without fields, such as a scalar: one value for all rows.
            return np.broadcast_to(self.mask(pa.table({"": [True]}), 1), rows)
        if not rows:
            return np.zeros(0, bool)
        selected = pads.dataset(table).to_table(columns={"keep": self.expression}, use_threads=False)["keep"]
        return np.asarray(pc.fill_null(selected, False).to_numpy(), bool)


@dataclass(frozen=True)
class ColumnPredicate:
    """Rows for which a Python function says so.

    fields: the fields it needs. function: called with one array a field, in that order, for the rows of one read
    task (see `read/face.py` for the arrays); returns bool `[rows]`. With the process pool it is sent by cloudpickle.
    """

    fields: tuple[str, ...]
    function: Callable[..., Any]

    def __init__(self, fields: Sequence[str], function: Callable[..., Any]) -> None:
        object.__setattr__(self, "fields", tuple(fields))
        object.__setattr__(self, "function", function)

    def mask_of(self, arrays: list[Array], rows: int) -> Array:
        """bool `[rows]`. Raises TransformError if the function fails or returns something else."""
        try:
            mask = np.asarray(self.function(*arrays))
        except (Exception, SystemExit) as error:
            raise TransformError(f"The where= function failed with {type(error).__name__}: {error}") from error
        if mask.shape != (rows,) or mask.dtype != bool:
            raise TransformError(
                describe(
                    "The where= function must return one bool a row",
                    expected=f"bool ({rows},)",
                    found=f"{mask.dtype} {mask.shape}",
                )
            )
        return mask


Predicate: TypeAlias = ExpressionPredicate | ColumnPredicate


def predicate_of(where: Any, names: Sequence[str], filter_schema: pa.Schema) -> Predicate | None:
    """The predicate of a `where=` argument; None for None and for an empty list of tuples.

    names: the fields there are. filter_schema: the types that an expression sees. Raises OptionError for a spelling
    that is none of the three, or an unknown field.
    """
    if where is None:
        return None
    if isinstance(where, (ExpressionPredicate, ColumnPredicate)):
        predicate: Predicate = where
    elif isinstance(where, pc.Expression):
        predicate = ExpressionPredicate(where, tuple(columns_of(where, filter_schema)))
    elif callable(where):
        predicate = ColumnPredicate(_parameters(where, names), where)
    elif isinstance(where, (list, tuple)):
        if not where:
            return None
        expression = to_expression(where, filter_schema)
        predicate = ExpressionPredicate(expression, tuple(columns_of(expression, filter_schema)))
    else:
        raise OptionError(
            f"where takes tuples such as [('speed', '>', 2.0)], a pyarrow.compute expression, or a function on "
            f"columns; not {where!r}."
        )
    unknown = [name for name in predicate.fields if name not in names]
    if unknown:
        raise OptionError(f"where names unknown fields {unknown}; there are {list(names)}.")
    return predicate


def _parameters(function: Callable[..., Any], names: Sequence[str]) -> list[str]:
    """The fields that a function asks for by its parameters, in order; it may have others if they have defaults."""
    needed: list[str] = []
    unknown: list[str] = []
    filled = ""
    for name, parameter in inspect.signature(function).parameters.items():
        if name in names and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            # Called by position, so a field can't follow what keeps its default.
            (unknown if filled else needed).append(name)
        elif parameter.default is not parameter.empty:
            filled = name
        else:
            unknown.append(name)
    if unknown or not needed:
        raise OptionError(
            f"A where= function's parameters must be names of fields; {unknown or 'none'} are not"
            f"{f' (none may follow {filled!r})' if filled else ''}. Fields whose names can't be parameters are given "
            "by tfpetastorm.ColumnPredicate(fields, function)."
        )
    return needed

"""`where=`: which rows are read at all.

Four spellings become three kinds. DNF tuples and `pyarrow.compute` expressions become an `ExpressionPredicate`, which
also prunes row groups by statistics, bloom filters and hive partitions; a Python function on columns becomes a
`ColumnPredicate`; petastorm's predicates become an `ExpressionPredicate` where they can, else a `ValuePredicate`.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import operator
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from tfpetastorm.errors import OptionError, TransformError, describe
from tfpetastorm.read.predicate_bounds import Stored, bounds_of
from tfpetastorm.read.predicate_columns import Given, check_fields, fields_of, is_all, is_any, mask_of
from tfpetastorm.read.predicates import (
    PredicateBase,
    in_intersection,
    in_negate,
    in_pseudorandom_split,
    in_reduce,
    in_set,
)
from tfpetastorm.schema.columns import Array, Column
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.storage.where import columns_of, to_expression, unknown_field

if TYPE_CHECKING:
    from tfpetastorm.storage.dataset import StoredDataset


@dataclass(frozen=True, eq=False)
class ExpressionPredicate:
    """Rows for which a `pyarrow.compute` expression is true; null counts as false.

    fields: the scalar fields it names (a superset does no harm).
    """

    expression: pc.Expression
    fields: tuple[str, ...]

    @property
    def pruning(self) -> pc.Expression | None:
        """An expression that is true of every row that passes."""
        return self.expression

    @property
    def key(self) -> str | None:
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

    @property
    def pruning(self) -> pc.Expression | None:
        """None: nobody knows what a function does."""
        return None

    @property
    def key(self) -> str | None:
        """None: what is in a function, nobody can compare from one run to the next."""
        return None

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


@dataclass(frozen=True, eq=False)
class ValuePredicate:
    """Rows for which one of petastorm's predicates says so.

    predicate: what decides. stored: its fields, as stored. pruning: an expression that is true of every row that
    passes, or None. batched: whether predicates of the user's own get pandas columns instead of one row at a time.
    """

    predicate: PredicateBase
    stored: Mapping[str, UnischemaField]
    pruning: pc.Expression | None
    batched: bool

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it needs, in the schema's order."""
        return tuple(self.stored)

    @property
    def key(self) -> str | None:
        """A name that no other predicate has, for caching counts; None where a function of the user's is in it."""
        described = _described(self.predicate)
        return None if described is None else hashlib.sha256(described.encode()).hexdigest()

    def mask_of_columns(self, columns: Mapping[str, Column], rows: int) -> Array:
        """bool `[rows]`. columns: `fields`, decoded. Raises TransformError if the predicate fails."""
        return mask_of(self.predicate, Given(self.stored, columns, rows), self.batched)


@dataclass(frozen=True, eq=False)
class AllOf:
    """Rows for which all of several predicates say so."""

    parts: tuple[Predicate, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that any of them needs."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.fields))

    @property
    def pruning(self) -> pc.Expression | None:
        """An expression that is true of every row that passes."""
        known = [part.pruning for part in self.parts if part.pruning is not None]
        return functools.reduce(operator.and_, known) if known else None

    @property
    def key(self) -> str | None:
        """A name that no other predicate has; None where one of them has none."""
        keys = [part.key for part in self.parts]
        return None if None in keys else hashlib.sha256(repr(keys).encode()).hexdigest()


Predicate: TypeAlias = "ExpressionPredicate | ColumnPredicate | ValuePredicate | AllOf"


def predicate_of(
    where: Any,
    names: Sequence[str],
    filter_schema: pa.Schema,
    dataset: StoredDataset | None = None,
    batched: bool = True,
) -> Predicate | None:
    """The predicate of a `where=` argument; None for None and for an empty list of tuples.

    names: the fields there are. filter_schema: the types that an expression sees. dataset: what petastorm's predicates
    are for; needed for these only. batched: whether such predicates, if of the user's own, get pandas columns
    instead of one row at a time. Raises OptionError for a spelling that is none of the four, or an unknown field;
    TransformError where a predicate on partition folders, which is called here, fails.
    """
    if where is None:
        return None
    if isinstance(where, PredicateBase):
        if dataset is None:
            raise OptionError("A predicate object can't be used here: its fields' types are not known.")
        return _lowered(where, dataset, batched)
    if isinstance(where, (ExpressionPredicate, ColumnPredicate, ValuePredicate)):
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
            f"where takes tuples such as [('speed', '>', 2.0)], a pyarrow.compute expression, a function on "
            f"columns, or a predicate such as in_set([1, 2], 'label'); not {where!r}."
        )
    unknown = [name for name in predicate.fields if name not in names]
    if unknown:
        raise OptionError(f"where names unknown fields {unknown}; there are {list(names)}.")
    return predicate


def _lowered(where: PredicateBase, dataset: StoredDataset, batched: bool) -> Predicate:
    schema = dataset.schema
    wanted = fields_of(where)
    if not wanted:
        raise OptionError(f"The predicate {type(where).__name__} names no field in get_fields().")
    for name in sorted(wanted):
        if name not in schema.fields:
            raise unknown_field(name, list(schema.fields))
    fields = {field.name: field for field in schema if field.name in wanted}
    check_fields(where, fields)
    bounds = bounds_of(where, Stored(fields, dataset.filter_schema, dataset.partition_fields, batched))
    if bounds.exact and bounds.upper is not None:
        return ExpressionPredicate(bounds.upper, tuple(fields))
    return ValuePredicate(where, fields, bounds.upper, batched)


def _described(predicate: PredicateBase) -> str | None:
    """All that decides what a predicate says, as text; None where code of the user's does."""
    kind = type(predicate)
    if kind is in_negate:
        inner = _described(predicate.predicate)  # type: ignore[attr-defined]
        return None if inner is None else f"not({inner})"
    if kind is in_reduce:
        reduce_func = predicate.reduce_func  # type: ignore[attr-defined]
        parts = [_described(part) for part in predicate.predicates]  # type: ignore[attr-defined]
        how = "all" if is_all(reduce_func) else "any" if is_any(reduce_func) else None
        known = [part for part in parts if part is not None]
        return f"{how}({','.join(known)})" if how and len(known) == len(parts) else None
    if kind in (in_set, in_intersection):
        values = sorted(f"{type(value).__name__}:{value!r}" for value in predicate.values)  # type: ignore[attr-defined]
        return f"{kind.__name__}({predicate.field!r},{values})"  # type: ignore[attr-defined]
    if kind is in_pseudorandom_split:
        return f"split({predicate.field!r},{predicate.low!r},{predicate.high!r})"  # type: ignore[attr-defined]
    return None


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

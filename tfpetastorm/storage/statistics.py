"""Which row groups can hold rows that pass a filter, judged by the footers, and by bloom filters if there are any.

pyarrow decides: every row group becomes a fragment that is never opened, whose partition expression states what its
statistics and folders guarantee, and pyarrow drops the fragments whose guarantee contradicts the filter. So every
expression works, and an expression pyarrow can't reason about just prunes nothing.
"""

from __future__ import annotations

import bisect
import contextlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from tfpetastorm.schema.columns import Array
from tfpetastorm.storage.bloom import prune_by_bloom
from tfpetastorm.storage.lookups import All, Either, Wanted, lookups_of
from tfpetastorm.storage.where import columns_of

if TYPE_CHECKING:
    from tfpetastorm.storage.dataset import StoredDataset

_LOG = logging.getLogger("tfpetastorm")
_CALL = re.compile(r"\b([a-z_]\w*)\(")
#: Calls under which a NaN behaves as "outside every range", as statistics take it.
_NAN_SAFE = frozenset({"is_in", "is_null", "is_valid", "and", "or", "and_kleene", "or_kleene"})


@dataclass(frozen=True)
class Statistics:
    """What a footer tells of one column in one row group.

    minimum, maximum: bounds of the values that are neither null nor NaN, as Python values; None if unknown. Texts and
    bytes may be cut by the writer, but bound all the same. nulls: how many, or None if unknown. rows: of the group.
    """

    minimum: Any
    maximum: Any
    nulls: int | None
    rows: int


def column_statistics(metadata: pq.FileMetaData, row_group: int, column: int) -> Statistics:
    """The statistics of the Parquet column with the index `column`, with None for whatever is not stored."""
    group = metadata.row_group(row_group)
    stored = group.column(column).statistics
    if stored is None:
        return Statistics(None, None, None, group.num_rows)
    nulls = stored.null_count if stored.has_null_count else None
    minimum = maximum = None
    if stored.has_min_max:
        # Some have no Python value, such as nanoseconds without pandas.
        with contextlib.suppress(ValueError, OverflowError, NotImplementedError, pa.ArrowException):
            minimum, maximum = stored.min, stored.max
    return Statistics(minimum, maximum, nulls, group.num_rows)


def prune(dataset: StoredDataset, expression: pc.Expression, on_read: Callable[[int], None] | None = None) -> Array:
    """Which row groups may hold rows for which `expression` is true: bool `[row groups]`.

    Reads nothing but the bloom filters of fields that are compared with `=` or `in`, where there are any and
    statistics don't decide. on_read: called with the bytes of each.

    Raises `OptionError` if the expression names an unknown field or mixes types.
    """
    schema = dataset.filter_schema
    names = columns_of(expression, schema)
    inventory = dataset.inventory
    keep = np.zeros(len(inventory.row_group_rows), np.bool_)
    if not names:
        return np.ones_like(keep)
    careful = not _nan_safe(expression)
    columns = [schema.field(name) for name in names if not (careful and pa.types.is_floating(schema.field(name).type))]
    format_ = pads.ParquetFileFormat()
    nowhere = pafs.LocalFileSystem()
    fragments = [
        format_.make_fragment(str(i), nowhere, partition_expression=_guarantee(dataset, i, columns))
        for i in range(len(keep))
    ]
    imagined = pads.FileSystemDataset(fragments, schema, format_, nowhere)
    for fragment in imagined.get_fragments(filter=expression):
        keep[int(fragment.path)] = True
    wanted = lookups_of(expression) if keep.any() else None
    if wanted is None:
        return keep
    ranges = _Ranges(dataset)
    for group in np.flatnonzero(keep).tolist():
        keep[group] = not ranges.exclude(wanted, group)
    read: list[int] = []
    left = prune_by_bloom(dataset, wanted, keep, read.append)
    if read:
        _LOG.debug("%d bloom filters, %d bytes: %d row groups of %d left", len(read), sum(read), left.sum(), keep.sum())
        for size in read:
            if on_read is not None:
                on_read(size)
    return left


class _Ranges:
    """Which row groups have no looked-up value between their minimum and maximum: pyarrow concludes nothing from a
    list of more than 50 values, and its earlier versions nothing from any."""

    def __init__(self, dataset: StoredDataset) -> None:
        self._dataset = dataset
        self._sorted: dict[int, list[Any] | None] = {}

    def exclude(self, wanted: Wanted, row_group: int) -> bool:
        """Whether no row of a row group can have what is wanted."""
        if isinstance(wanted, All):
            return any(self.exclude(part, row_group) for part in wanted.parts)
        if isinstance(wanted, Either):
            return all(self.exclude(part, row_group) for part in wanted.parts)
        if wanted is None:
            return False
        kind = self._dataset.filter_schema.field(wanted.field).type
        if id(wanted) not in self._sorted:
            self._sorted[id(wanted)] = _in_order(wanted.values, kind)
        values = self._sorted[id(wanted)]
        statistics = self._dataset.row_groups[row_group].statistics(wanted.field)
        if values is None or statistics is None:
            return False
        low, high = _typed(statistics.minimum, kind), _typed(statistics.maximum, kind)
        if low is None or high is None:
            return False
        place = bisect.bisect_left(values, _place(low))
        return bool(place == len(values) or values[place] > _place(high))


def _in_order(values: pa.Array, kind: pa.DataType) -> list[Any] | None:
    """Sorted values that compare with the statistics of a field of type `kind` as they do with its values, or None."""
    if values.type != kind and not (pa.types.is_integer(values.type) and pa.types.is_integer(kind)):
        return None
    found = [_place(value) for value in values]
    return sorted(found) if all(place == place for place in found) else None


def _place(value: pa.Scalar) -> Any:
    # Instants have no Python value that keeps nanoseconds.
    return value.value if pa.types.is_timestamp(value.type) else value.as_py()


def _nan_safe(expression: pc.Expression) -> bool:
    """Whether a NaN never passes where all numbers of a range fail.

    Statistics leave NaN out, so `x != 1` or `~(x < 2)` may be true for a NaN in a row group of nothing but ones.
    """
    # Literals stay in the text, as pyarrow doesn't escape the quotes within: at worst one makes this too careful.
    text = str(expression)
    if "!=" in text or "nan" in text.replace("nan_is_null=false", "").lower():
        return False
    return set(_CALL.findall(text)) <= _NAN_SAFE


def _guarantee(dataset: StoredDataset, row_group: int, columns: list[pa.Field]) -> pc.Expression:
    """What is true of every row of a row group."""
    sure = pc.scalar(True)
    for column in columns:
        statistics = dataset.row_groups[row_group].statistics(column.name)
        if statistics is not None:
            for part in _guarantees(pc.field(column.name), column.type, statistics):
                sure = sure & part
    return sure


def _guarantees(field: pc.Expression, kind: pa.DataType, statistics: Statistics) -> list[pc.Expression]:
    if statistics.rows and statistics.nulls == statistics.rows:
        return [field.is_null()]
    never_null = statistics.nulls == 0
    parts = [field.is_valid()] if never_null else []
    low, high = _typed(statistics.minimum, kind), _typed(statistics.maximum, kind)
    if low is not None and high is not None:
        # In these forms only does pyarrow draw conclusions from them: a bound, or null, each for itself.
        # Zeros are written as -0.0 to 0.0, whichever they are; "== -0.0" would rule out `isin([0.0])`.
        exact = low.equals(high) and not (pa.types.is_floating(kind) and low.as_py() == 0)
        bounds = [field == low] if exact else [field >= low, field <= high]
        parts += bounds if never_null else [bound | field.is_null() for bound in bounds]
    return parts


def _typed(value: Any, kind: pa.DataType) -> pa.Scalar | None:
    """`value` as a scalar of the type the filter sees, or None where that would not keep the order."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    try:
        scalar = pa.scalar(value)
        if scalar.type == kind:
            return scalar
        numeric = pa.types.is_integer(scalar.type) or pa.types.is_floating(scalar.type)
        if pa.types.is_unsigned_integer(kind) and (not numeric or value < 0):
            return None  # stored as a signed type and wrapped around: the order is not that of the values
        if numeric and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            # Rounding is monotonic, so bounds stay bounds; an integer that doesn't fit raises.
            return scalar.cast(kind, safe=not pa.types.is_floating(kind))
        return pa.scalar(value, kind)
    except (TypeError, ValueError, OverflowError, pa.ArrowException):
        return None

"""NGram with the methods that petastorm's programs call on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from tfpetastorm.errors import OptionError, SchemaError, UnsortedDataError, describe
from tfpetastorm.plan.ngram import NGram, ResolvedWindows
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema

Rows = Mapping[int, Mapping[str, Any]]


class PetastormNGram(NGram):
    """An `NGram` (see there) that a schema can be settled on: `resolve_regex_field_names`, which readers call, makes
    fields of the names and regular expressions in `fields` and `timestamp_field`.
    """

    def __post_init__(self) -> None:
        given: Any = self.fields
        if isinstance(given, Mapping) and not all(isinstance(items, (list, tuple)) for items in given.values()):
            raise OptionError(
                describe("NGram: not a choice of fields", expected="a list for each offset", found=repr(given))
            )
        super().__post_init__()

    def resolve(self, schema: Unischema, stored: Unischema | None = None) -> ResolvedWindows:
        """See `NGram.resolve`. What it finds is kept, as petastorm's readers did."""
        resolved = super().resolve(schema, stored)
        assert resolved.fields is not None
        fields = {offset: tuple(schema.fields[name] for name in names) for offset, names in resolved.fields.items()}
        object.__setattr__(self, "fields", MappingProxyType(fields))
        if resolved.timestamp is not None:
            object.__setattr__(self, "timestamp_field", (stored or schema).fields[resolved.timestamp])
        return resolved

    def resolve_regex_field_names(self, schema: Unischema) -> None:
        """Replace names and regular expressions by the schema's fields. Raises OptionError for one that matches none,
        and for a `timestamp_field` that matches several.
        """
        self.resolve(schema)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, NGram.__reduce__(self)[1]

    def __eq__(self, other: object) -> bool:
        return _compared(self) == _compared(other) if isinstance(other, NGram) else NotImplemented

    def __hash__(self) -> int:
        return hash((tuple(self.fields), self.stride, self.timestamp_overlap))

    @property
    def _timestamp_field(self) -> Any:
        return self.timestamp_field

    def get_field_names_at_timestep(self, timestep: int) -> list[str]:
        """The names of the fields at an offset, none at offsets without any. Call `resolve_regex_field_names` first if
        there are regular expressions; until then they stand for themselves.
        """
        return [_name(item) for item in self.fields.get(timestep, ())]

    def get_field_names_at_all_timesteps(self) -> list[Any]:
        """All fields (or names, before `resolve_regex_field_names`) of any offset, each once."""
        return list(dict.fromkeys(item for items in self.fields.values() for item in items))

    def get_schema_at_timestep(self, schema: Unischema, timestep: int) -> Unischema:
        """The schema of the row at an offset: its fields only."""
        names = set(self.get_field_names_at_timestep(timestep))
        return schema.create_schema_view([field for field in schema if field.name in names])

    def convert_fields(self, unischema: Unischema, field_list: Iterable[Any]) -> list[UnischemaField]:
        """The schema's fields that these fields and regular expressions mean. Raises OptionError for what is neither,
        or means none."""
        try:
            return [unischema.fields[name] for name in unischema.select(list(field_list))]
        except SchemaError as error:
            raise OptionError(str(error)) from error

    def form_ngram(self, data: Sequence[Mapping[str, Any]], schema: Unischema) -> list[dict[int, dict[str, Any]]]:
        """The n-grams of consecutive rows: for each a dict from offset to a dict of the fields there.

        data: rows as dicts, in the order of the timestamp field. Raises UnsortedDataError if they are not.
        """
        resolved = self.resolve(schema)
        assert resolved.fields is not None
        times = [row[resolved.timestamp] for row in data] if resolved.timestamp is not None else None
        if times is not None and any(later < earlier for earlier, later in pairwise(times)):
            raise UnsortedDataError(f"n-grams need rows sorted by {resolved.timestamp!r}, and these are not.")
        formed: list[dict[int, dict[str, Any]]] = []
        ended: Any = None
        in_stretch = 0
        for start in range(len(data) - resolved.length + 1):
            span = times[start : start + resolved.length] if times is not None else []
            if not self._within(span) or not _of_one(data[start : start + resolved.length], resolved.sequence):
                in_stretch = 0
                continue
            if not resolved.overlap and ended is not None and span[0] <= ended:
                continue
            in_stretch += 1
            if (in_stretch - 1) % resolved.stride:
                continue
            ended = span[-1] if span else None
            ngram = {}
            for number, row in enumerate(data[start : start + resolved.length]):
                offset = resolved.first + number
                ngram[offset] = {name: row[name] for name in resolved.fields.get(offset, ())}
            formed.append(ngram)
        return formed

    def _within(self, times: Sequence[Any]) -> bool:
        threshold = self.delta_threshold
        return threshold is None or all(later - earlier <= threshold for earlier, later in pairwise(times))

    def make_namedtuple(self, schema: Unischema, ngram_as_dicts: Rows) -> dict[int, Any]:
        """An n-gram of dicts as one of namedtuples, by offset."""
        return {
            offset: self.get_schema_at_timestep(schema, offset).make_namedtuple(**row)
            for offset, row in ngram_as_dicts.items()
        }


def _compared(ngram: NGram) -> tuple[Any, ...]:
    # Fields in another order are the same n-gram.
    fields = {offset: frozenset(items) for offset, items in ngram.fields.items()}
    names = [None if item is None else _name(item) for item in (ngram.timestamp_field, ngram.sequence_field)]
    return fields, names, ngram.delta_threshold, ngram.timestamp_overlap, ngram.stride


def _name(item: Any) -> str:
    return item.name if isinstance(item, UnischemaField) else str(getattr(item, "pattern", item))


def _of_one(rows: Sequence[Mapping[str, Any]], sequence: str | None) -> bool:
    return sequence is None or all(row[sequence] == rows[0][sequence] for row in rows)


def _rebuilt(fields: Any, threshold: Any, timestamp: Any, overlap: bool, sequence: Any, stride: int) -> PetastormNGram:
    return PetastormNGram(fields, threshold, timestamp, overlap, sequence_field=sequence, stride=stride)

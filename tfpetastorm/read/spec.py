"""What read tasks give: the fields, which rows, and what is done to them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from tfpetastorm.plan.split import Split
from tfpetastorm.read.cache import DiskCache
from tfpetastorm.read.fetch import Source
from tfpetastorm.read.nulls import NullPolicy
from tfpetastorm.read.predicate import Predicate
from tfpetastorm.read.task_cache import transform_name
from tfpetastorm.read.transform import Change
from tfpetastorm.schema.codecs.base import DEFAULT_LIMITS, Limits
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema


@dataclass(frozen=True, eq=False)
class ReadSpec:
    """Everything that decides what a read task gives. Sent to worker processes as it is.

    schema: all stored fields. fields: the names of those to read, in order. output: the fields that come out, after
    nulls and transform. filter_schema: the types that an expression sees. skip: whether damaged rows are left out and
    listed, rather than raised. cache: where what is decoded is kept; None for nowhere.
    """

    source: Source
    schema: Unischema
    fields: tuple[str, ...]
    nulls: NullPolicy
    output: tuple[UnischemaField, ...]
    filter_schema: pa.Schema
    where: Predicate | None = None
    split: Split | None = None
    transform: Change | None = None
    skip: bool = False
    limits: Limits = DEFAULT_LIMITS
    cache: DiskCache | None = None
    #: The transform as the cache knows it: found out here, and not by each worker process, whose copy is another.
    transform_name: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "transform_name", transform_name(self))

    @property
    def shown(self) -> bool:
        """Whether Python sees what is read, so that text has to be UTF-8: a function, or rows that keep nulls."""
        return self.nulls.keeps_all or (self.transform is not None and self.transform.function is not None)

    @property
    def read_fields(self) -> list[UnischemaField]:
        """The fields to read, as stored."""
        return [self.schema.fields[name] for name in self.fields]

    @property
    def selects(self) -> bool:
        """Whether some rows are left out by what is in them or by their number."""
        return self.where is not None or (self.split is not None and self.split.by != "row_group")

    @property
    def selecting_fields(self) -> list[UnischemaField]:
        """The fields that decide which rows come out."""
        names = dict.fromkeys(self.where.fields if self.where is not None else ())
        if self.split is not None and self.split.by not in ("row", "row_group"):
            names[self.split.by] = None
        return [self.schema.fields[name] for name in names]

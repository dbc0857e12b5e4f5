"""One feature of a schema proto: what it says, whether that agrees with a tag, and its field if it has no tag."""

from __future__ import annotations

import datetime as dt
import math
from functools import cached_property
from typing import Any

import numpy as np

from tfpetastorm.errors import Place, SchemaError, describe
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.tfmd.form import TIME_FORMATS, Bounds, Dims, Form, integer_of
from tfpetastorm.tfmd.tags import read_tag

_DTYPES = {form: dt.date if unit == "D" else np.dtype(f"datetime64[{unit}]") for unit, form in TIME_FORMATS.items()}
#: Stages whose features TFX makes no tensors of, and features that only statistics have.
_UNUSED = ("PLANNED", "ALPHA", "DEPRECATED", "DEBUG_ONLY", "DISABLED", "VALIDATION_DERIVED")
#: The domains of BYTES that are text, numbers in digits among them.
_OF_TEXT = (
    "domain", "string_domain", "natural_language_domain", "url_domain", "mid_domain", "time_domain",
    "time_of_day_domain", "bool_domain", "int_domain", "float_domain",
)  # fmt: skip


class Feature:
    """A Feature of a proto, asked in our terms. Raises SchemaError where it is malformed."""

    def __init__(self, module: Any, schema: Any, message: Any) -> None:
        self._module = module
        self._schema = schema
        #: The proto's own message.
        self.message = message
        self.name: str = message.name
        self.place = Place(field=message.name)

    def instead(self, message: Any) -> Feature:
        """Another message in its place of the schema."""
        return Feature(self._module, self._schema, message)

    @property
    def used(self) -> bool:
        """Whether TFX's components use it."""
        stage = self._module.LifecycleStage.Name(self.message.lifecycle_stage)
        return not self.message.deprecated and stage not in _UNUSED

    @property
    def tag(self) -> dict[str, Any] | None:
        """What our tag says of it; None without one."""
        return read_tag(self.message.annotation, self.place)

    @property
    def nullable(self) -> bool:
        """Whether rows may lack it."""
        if self.message.HasField("group_presence"):
            return not self.message.group_presence.required
        return bool(self.message.presence.min_fraction != 1.0)

    @property
    def type(self) -> str | None:
        """The name of its FeatureType; None if it is not set."""
        name = str(self._module.FeatureType.Name(self.message.type))
        return None if name == "TYPE_UNKNOWN" else name

    @property
    def domain(self) -> str | None:
        """The name of the field that has its domain, of one declared once for the schema "domain"."""
        name: str | None = self.message.WhichOneof("domain_info")
        return name

    @cached_property
    def bounds(self) -> Bounds:
        """The least and most of its int_domain, also one declared once for the schema; None where it has none."""
        domain = self.message.int_domain
        if self.domain == "domain":
            domain = next((one for one in self._schema.int_domain if one.name == self.message.domain), domain)
        return (domain.min if domain.HasField("min") else None, domain.max if domain.HasField("max") else None)

    @property
    def time_format(self) -> str | None:
        """The name of the IntegerTimeFormat that it counts time in."""
        if self.domain != "time_domain" or self.message.time_domain.WhichOneof("format") != "integer_format":
            return None
        name = str(self._module.TimeDomain.IntegerTimeFormat.Name(self.message.time_domain.integer_format))
        return None if name == "FORMAT_UNKNOWN" else name

    @cached_property
    def dense(self) -> tuple[int, ...] | None:
        """The sizes of its `shape` if it has one and all are given."""
        dims = self._dims
        fixed = tuple(size for size in dims if size is not None)
        return fixed if self.message.HasField("shape") and len(fixed) == len(dims) else None

    @property
    def _dims(self) -> Dims:
        sizes = [dim.size if dim.HasField("size") and dim.size != -1 else None for dim in self.message.shape.dim]
        if any(size is not None and size < 1 for size in sizes):
            raise SchemaError(describe("Not a size", self.place, expected="a size above 0", found=sizes))
        return tuple(sizes)

    @property
    def _counts(self) -> list[Any] | None:
        """The bounds on how many values it has, one level each; None if it has none."""
        if self.message.HasField("value_count"):
            return [self.message.value_count]
        return list(self.message.value_counts.value_count) if self.message.HasField("value_counts") else None

    def plain_dims(self) -> Dims:
        """Its dimensions, with nothing known but the proto: one value a row is a scalar, none said a list."""
        if self.message.HasField("shape"):
            return self._dims
        counts = self._counts
        if not counts:
            return (None,)
        dims = tuple(count.min if count.min == count.max and count.min > 0 else None for count in counts)
        return () if dims == (1,) else dims

    def agrees(self, form: Form) -> bool:
        """Whether values of this form can be what the proto says."""
        if self.type not in (None, form.type) or not self._admits(form.dims):
            return False
        if form.time_format and self.time_format not in (None, form.time_format):
            return False
        if form.domain == "int" and form.bounds:
            return _within(self.bounds, form.bounds)
        return True

    def _admits(self, dims: Dims) -> bool:
        if self.message.HasField("shape"):
            said = self._dims
            return len(said) == len(dims) and all(
                a is None or b is None or a == b for a, b in zip(said, dims, strict=True)
            )
        counts = self._counts
        if counts is None:
            return True
        if self.message.HasField("value_count"):
            # All values of a row, however they are nested.
            return None in dims or _counted(counts[0], math.prod(size for size in dims if size))
        levels = dims or (1,)
        return len(counts) == len(levels) and all(
            size is None or _counted(count, size) for count, size in zip(counts, levels, strict=True)
        )

    def __str__(self) -> str:
        counts = self._counts
        if self.message.HasField("shape"):
            shape = f"of shape {self._dims}"
        elif counts is not None:
            shape = "of " + ", ".join(f"{count.min} to {count.max or 'any number of'} values" for count in counts)
        else:
            shape = "of any shape"
        least, most = self.bounds
        said = f"from {least} to {most}" if least is not None or most is not None else ""
        return " ".join(filter(None, [self.type or "no type", shape, said, self.time_format]))


def _counted(count: Any, size: int) -> bool:
    # As TFDV has it, a max of 0 is none.
    return bool(count.min <= size and (count.max <= 0 or size <= count.max))


def _within(bounds: Bounds, limits: Bounds) -> bool:
    least, most = limits
    return all(
        bound is None or ((least is None or bound >= least) and (most is None or bound <= most)) for bound in bounds
    )


def plain_field(feature: Feature) -> UnischemaField:
    """The field of a feature that has no tag: without a codec, in the type that TFX holds it in or its domain says."""
    return UnischemaField(feature.name, _dtype(feature), feature.plain_dims(), None, feature.nullable)


def _dtype(feature: Feature) -> Any:
    if feature.type == "FLOAT":
        return np.float32
    if feature.type == "BYTES":
        return np.str_ if feature.domain in _OF_TEXT else np.bytes_
    if feature.type == "INT":
        if feature.domain == "bool_domain":
            return np.bool_
        return _DTYPES[feature.time_format] if feature.time_format else integer_of(feature.bounds)
    raise SchemaError(
        describe(
            "A feature has no type that a field can have",
            feature.place,
            expected="FLOAT, INT or BYTES",
            found=feature.type,
            remedy="Give it one, or set its lifecycle_stage to DISABLED to leave it out.",
        )
    )

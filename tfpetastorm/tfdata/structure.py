"""The user's structure of an element: features and labels, ragged or padded fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfpetastorm.errors import OptionError
from tfpetastorm.schema.field import UnischemaField


@dataclass(frozen=True)
class Structure:
    """How fields are arranged in an element.

    label: None for a dict of all fields; a name, or a tuple of names, for `(features, label)` where features is a
    dict of the other fields and label one tensor, or a dict.
    """

    label: str | tuple[str, ...] | None

    @classmethod
    def of(cls, label: Any, names: Sequence[str]) -> Structure:
        """Raises OptionError for a label that is not among the fields, or that leaves no features."""
        if label is None:
            return cls(None)
        labels = (label,) if isinstance(label, str) else tuple(label)
        unknown = [name for name in labels if name not in names]
        if unknown or not labels:
            raise OptionError(f"label names {unknown or 'no field'}; the fields are {list(names)}.")
        if len(labels) == len(names):
            raise OptionError("label takes every field, so that no features are left; name more in fields=.")
        return cls(label if isinstance(label, str) else labels)

    def arrange(self, element: dict[str, Any]) -> Any:
        """A dict of fields as the user's element."""
        if self.label is None:
            return element
        labels = (self.label,) if isinstance(self.label, str) else self.label
        features = {name: value for name, value in element.items() if name not in labels}
        if isinstance(self.label, str):
            return features, element[self.label]
        return features, {name: element[name] for name in labels}


@dataclass(frozen=True)
class Padding:
    """Which ragged fields become dense: each batch is padded with zeros (or empty strings) to its largest row, or,
    where a size is given, every batch to that size, and longer rows cut.

    sizes: by field, the size of its first dimension, or None for the batch's largest. shapes: by field, its shape.
    """

    sizes: dict[str, int | None]
    shapes: dict[str, tuple[int | None, ...]]

    @classmethod
    def of(cls, ragged: Any, fields: Sequence[UnischemaField]) -> Padding:
        """ragged: "ragged" for none, "pad" for all, or a mapping from fields to "pad", "ragged" or a size."""
        shapes = {field.name: field.shape for field in fields if field.ragged_rank}
        names = list(shapes)
        if ragged == "ragged":
            return cls({}, shapes)
        if ragged == "pad":
            return cls(dict.fromkeys(names), shapes)
        if not isinstance(ragged, dict):
            raise OptionError(f'ragged takes "ragged", "pad" or a mapping of fields, not {ragged!r}.')
        sizes: dict[str, int | None] = {}
        for name, value in ragged.items():
            if name not in names:
                raise OptionError(f"ragged names {name!r}, which is not a field of variable shape; these are {names}.")
            if value == "pad":
                sizes[name] = None
            elif isinstance(value, int) and not isinstance(value, bool) and value > 0:
                sizes[name] = value
            elif value != "ragged":
                raise OptionError(f'ragged[{name!r}] is "pad", "ragged" or a size, not {value!r}.')
        return cls(sizes, shapes)

    def apply(self, element: dict[str, Any]) -> dict[str, Any]:
        """The element with its padded fields dense."""
        return {
            name: _padded(value, self.sizes[name], self.shapes[name]) if name in self.sizes else value
            for name, value in element.items()
        }

    def rows(self, element: dict[str, Any]) -> dict[str, Any]:
        """An element that is one row, its ragged cells dense: every cell is rectangular."""
        return {
            name: value.to_tensor(shape=self.shapes[name]) if isinstance(value, tf.RaggedTensor) else value
            for name, value in element.items()
        }


def _padded(value: Any, size: int | None, shape: tuple[int | None, ...]) -> Any:
    # Fixed sizes are given: TensorFlow finds none in a batch of nothing but empty cells.
    return value.to_tensor(shape=[None, *shape] if size is None else [None, size, *shape[1:]])

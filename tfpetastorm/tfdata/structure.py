"""The user's structure of an element: features and labels, ragged or padded fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfpetastorm.errors import OptionError
from tfpetastorm.schema.field import UnischemaField

#: The field that marks padding where there is no label to weigh.
ROW_MASK = "row_mask"


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

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of all labels."""
        return () if self.label is None else (self.label,) if isinstance(self.label, str) else self.label

    def arrange(self, element: dict[Any, Any], real: Any = None) -> Any:
        """A dict of fields, of an n-gram by offset, as the user's element. real: bool `[batch]`, False for padding: a
        sample weight for Keras, or where there is no label a field of its own (of an n-gram at its first offset)."""
        ngram = all(isinstance(value, dict) for value in element.values())
        if self.label is None:
            if real is None:
                return element
            if ngram:
                # TensorFlow sorts keys, so a name can't stand beside offsets.
                first = min(element)
                return {**element, first: {**element[first], ROW_MASK: real}}
            return {**element, ROW_MASK: real}
        if ngram:
            return self._arrange_ngram(element, real)
        features = {name: value for name, value in element.items() if name not in self.labels}
        return self._with_labels(features, {name: element[name] for name in self.labels}, real)

    def _arrange_ngram(self, element: dict[int, dict[str, Any]], real: Any) -> Any:
        features = {
            offset: {name: value for name, value in fields.items() if name not in self.labels}
            for offset, fields in element.items()
        }
        found = {name: fields[name] for fields in element.values() for name in self.labels if name in fields}
        return self._with_labels({offset: fields for offset, fields in features.items() if fields}, found, real)

    def _with_labels(self, features: Any, labels: dict[str, Any], real: Any) -> Any:
        label = labels[self.label] if isinstance(self.label, str) else labels
        return (features, label) if real is None else (features, label, tf.cast(real, tf.float32))


@dataclass(frozen=True)
class Padding:
    """Which ragged fields become dense: each batch is padded with zeros (or empty strings) to its largest row, or,
    where a size is given, every batch to that size, and longer rows cut.

    sizes: by field, the size of its first dimension, or None for the batch's largest. shapes: by field, its shape.
    length: of windows that stack their rows, how many these are.
    """

    sizes: dict[str, int | None]
    shapes: dict[str, tuple[int | None, ...]]
    length: int | None = None

    @classmethod
    def of(cls, ragged: Any, fields: Sequence[UnischemaField], length: int | None = None) -> Padding:
        """ragged: "ragged" for none, "pad" for all, or a mapping from fields to "pad", "ragged" or a size."""
        shapes = {field.name: field.shape for field in fields if field.ragged_rank}
        names = list(shapes)
        if ragged == "ragged":
            return cls({}, shapes, length)
        if ragged == "pad":
            return cls(dict.fromkeys(names), shapes, length)
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
        return cls(sizes, shapes, length)

    def apply(self, fields: dict[Any, Any]) -> dict[Any, Any]:
        """A batch's fields, of an n-gram by offset, with the padded ones dense."""
        return {name: self._dense(name, value) for name, value in fields.items()}

    def rows(self, fields: dict[Any, Any]) -> dict[Any, Any]:
        """The fields of one sample, ragged cells dense: every cell is rectangular. The cells of a window are padded to
        its largest."""
        return {
            name: self.rows(value)
            if isinstance(value, dict)
            else value.to_tensor(shape=[*self._lead, *self.shapes[name]])
            if isinstance(value, tf.RaggedTensor)
            else value
            for name, value in fields.items()
        }

    @property
    def _lead(self) -> list[int]:
        return [] if self.length is None else [self.length]

    def _dense(self, name: Any, value: Any) -> Any:
        if isinstance(value, dict):
            return self.apply(value)
        if name not in self.sizes:
            return value
        shape, size = self.shapes[name], self.sizes[name]
        # Fixed sizes are given: TensorFlow finds none in a batch of nothing but empty cells.
        return value.to_tensor(shape=[None, *self._lead, *(shape if size is None else (size, *shape[1:]))])

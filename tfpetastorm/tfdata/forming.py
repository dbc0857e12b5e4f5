"""Samples from rows, in the graph: the rows of a block each put at its place, and windows gathered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import tensorflow as tf

from tfpetastorm.errors import OptionError
from tfpetastorm.plan.ngram import ResolvedWindows
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.tfdata.source import Given
from tfpetastorm.tfdata.structure import Structure

#: Fields by name, of an n-gram by offset and name; and which samples are not padding, None where none is marked.
Sample: TypeAlias = "tuple[Any, Any]"


@dataclass(frozen=True)
class Forming:
    """Makes samples of the source's rows.

    windows: None where a sample is a row. stem: by field that comes out, the field that an n-gram names for it: a mask
    of nulls goes with what it masks. mixed: whether samples come in mixed order.
    """

    windows: ResolvedWindows | None
    stem: dict[str, str]
    mixed: bool = False

    @classmethod
    def of(cls, windows: ResolvedWindows | None, structure: Structure, spec: ReadSpec, mixed: bool) -> Forming:
        """Raises OptionError for a label that an n-gram does not have, or has at several offsets."""
        _check_label(structure, windows)
        stem = {field.name: field.name for field in spec.output}
        for field in spec.read_fields:
            stem.update(dict.fromkeys((mask.name for mask in spec.nulls.fields_after([field])), field.name))
        return cls(windows, stem, mixed)

    def whole(self, given: Given) -> Sample:
        """All samples of an element."""
        return self._formed(given.rows, given.index), given.real

    def part(self, given: Given, start: Any, stop: Any) -> Sample:
        """The samples of an element with numbers from `start` to `stop`, as far as there are any."""
        real = None if given.real is None else given.real[start:stop]
        return self._formed(given.rows, given.index[start:stop]), real

    def _formed(self, rows: dict[str, Any], index: Any) -> Any:
        if index is None:
            return rows
        if self.windows is None:
            return {name: _mixed(column, index) for name, column in rows.items()}
        if self.windows.fields is None:
            steps = index[:, tf.newaxis] + tf.range(self.windows.length)
            return {name: self._stacked(column, steps) for name, column in rows.items()}
        return {
            offset: self._at(
                {name: column for name, column in rows.items() if self.stem.get(name, name) in names},
                index + (offset - self.windows.first),
            )
            for offset, names in self.windows.fields.items()
        }

    def _at(self, rows: dict[str, Any], index: Any) -> dict[str, Any]:
        """The rows of an index. Where they follow one another, as they mostly do in stored order, a slice of them: it
        shares its memory with the column, if it begins at a multiple of TensorFlow's alignment."""
        if self.mixed:
            return {name: tf.gather(column, index) for name, column in rows.items()}
        dense = {name: column for name, column in rows.items() if not isinstance(column, tf.RaggedTensor)}
        first, count = index[0], tf.size(index)
        found = tf.cond(
            tf.reduce_all(index == first + tf.range(count)),
            lambda: {name: column[first : first + count] for name, column in dense.items()},
            lambda: {name: tf.gather(column, index) for name, column in dense.items()},
        )
        return {name: found[name] if name in found else tf.gather(column, index) for name, column in rows.items()}

    def _stacked(self, column: Any, steps: Any) -> Any:
        assert self.windows is not None
        found = tf.gather(column, steps)
        if isinstance(found, tf.RaggedTensor):
            # The length is the same everywhere: said, so that the shape is [batch, length, ...] and not [batch, None].
            rows = tf.shape(steps, tf.int64)[0]
            return tf.RaggedTensor.from_uniform_row_length(found.values, self.windows.length, nrows=rows)
        return found


def _mixed(column: Any, places: Any) -> Any:
    """The rows of a column, each at its place."""
    if isinstance(column, tf.RaggedTensor):
        return tf.gather(column, tf.math.invert_permutation(places))
    # By where rows go rather than whence they come: measured, this takes little more than half of a gather's time.
    mixed = tf.raw_ops.DynamicStitch(indices=[places], data=[column])
    return tf.ensure_shape(mixed, column.shape)


def _check_label(structure: Structure, windows: ResolvedWindows | None) -> None:
    """Raises OptionError for a label that an n-gram does not have, or has at several offsets."""
    if windows is None or windows.fields is None or structure.label is None:
        return
    labels = (structure.label,) if isinstance(structure.label, str) else structure.label
    for name in labels:
        offsets = [offset for offset, names in windows.fields.items() if name in names]
        if len(offsets) != 1:
            where = f"at the offsets {offsets}" if offsets else "at no offset"
            raise OptionError(
                f"label={name!r} is {where} of the n-gram; name it at just one, or arrange elements with Dataset.map."
            )

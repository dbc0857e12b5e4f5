"""The files of a UnischemaTFXIO: opened once, and again where they are needed in another process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2

from tfpetastorm.errors import OptionError
from tfpetastorm.plan.order import Shuffle
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.stores.filesystem import Url
from tfpetastorm.tfmd import unischema_to_schema
from tfpetastorm.tfxio.beam_source import Work
from tfpetastorm.tfxio.features import features_of
from tfpetastorm.tfxio.opening import open_examples
from tfpetastorm.tfxio.reading import Reading, planned, reading_of


@dataclass(frozen=True, eq=False)
class Examples:
    """Files that are open. stored: as a dataset; proto: its schema; reading: how it is read."""

    stored: StoredDataset
    proto: schema_pb2.Schema
    reading: Reading


class ExamplesInput:
    """What was asked for; `open` finds it. Sent to other processes without footers, but with how to read, if known.

    proto: the features to read; None for those of the stored Unischema, of which then `names`, or all.
    """

    def __init__(
        self,
        patterns: Url,
        filesystem: Any,
        codecs: tuple[type[Codec], ...],
        proto: schema_pb2.Schema | None,
        names: Iterable[str] | None = None,
    ) -> None:
        self.patterns = patterns
        self.filesystem = filesystem
        self.codecs = codecs
        self.proto = proto
        self.names = None if names is None else tuple(names)
        self._examples: Examples | None = None
        self._reading: Reading | None = None

    @property
    def is_open(self) -> bool:
        """Whether the files were found."""
        return self._examples is not None

    def open(self) -> Examples:
        """The files, looked for once. Raises what `UnischemaTFXIO` does."""
        if self._examples is None:
            self._examples = self._examples_of(
                open_examples(
                    self.patterns,
                    filesystem=self.filesystem,
                    codecs=self.codecs,
                    all_columns=self.proto is None and self.names is None,
                )
            )
            self._reading = self._examples.reading
        return self._examples

    @property
    def reading(self) -> Reading:
        """How rows are read."""
        return self._reading if self._reading is not None else self.open().reading

    @cached_property
    def work(self) -> list[Work]:
        """What there is to read, by row groups in stored order."""
        examples = self.open()
        table = planned(examples.stored, examples.reading, Shuffle.of(False))[0].samples.tasks
        pieces = ((task.row_group, task.start, task.stop) for task in map(table.task, range(len(table))))
        return [tuple(slices) for _, slices in groupby(pieces, lambda piece: piece[0])]

    def with_proto(self, proto: schema_pb2.Schema) -> ExamplesInput:
        """The same files with other features."""
        made = ExamplesInput(self.patterns, self.filesystem, self.codecs, proto)
        if self._examples is not None:
            made._examples = made._examples_of(self._examples.stored)
            made._reading = made._examples.reading
        return made

    def _examples_of(self, stored: StoredDataset) -> Examples:
        proto = self.proto
        if proto is None:
            proto = restricted(unischema_to_schema(stored.schema), self.names)
        columns = {name for schema in stored.arrow_schemas for name in schema.names}
        features = features_of(proto, stored.schema, columns)
        return Examples(stored, proto, reading_of(stored, features))

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_examples": None}
        state["proto"] = None if self.proto is None else self.proto.SerializeToString()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if state["proto"] is not None:
            self.proto = schema_pb2.Schema.FromString(state["proto"])


def restricted(schema: schema_pb2.Schema, names: Iterable[str] | None) -> schema_pb2.Schema:
    """A copy of the schema with the features of these names only; with all for None. Raises OptionError for others."""
    made = schema_pb2.Schema()
    made.CopyFrom(schema)
    if names is None:
        return made
    wanted = set(names)
    missing = wanted - {feature.name for feature in schema.feature}
    if missing:
        raise OptionError(f"column_names has {sorted(missing)}, which are not features of the schema.")
    del made.feature[:]
    made.feature.extend(feature for feature in schema.feature if feature.name in wanted)
    return made

"""A reader without a dataset, for tests of programs that take a reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tfpetastorm.errors import OptionError
from tfpetastorm.schema.unischema import Unischema


class ReaderMock:
    """A reader of endlessly many rows that a function makes: what takes the reader of `make_reader` takes it too.

    schema: of the rows. schema_data_generator: given the schema, makes one row as a dict.
    Raises OptionError (a ValueError) if an n-gram is asked for.
    """

    def __init__(
        self, schema: Unischema, schema_data_generator: Callable[[Unischema], Mapping[str, Any]], ngram: None = None
    ) -> None:
        if ngram is not None:
            raise OptionError("ReaderMock makes rows, not n-grams.")
        self.schema = schema
        self.schema_data_generator = schema_data_generator
        self.ngram = None
        self.batched_output = False
        self.last_row_consumed = False
        self.stopped = False
        self.diagnostics: dict[str, Any] = {}

    def fetch(self) -> Any:
        """One row, as a namedtuple."""
        return self.schema.make_namedtuple(**self.schema_data_generator(self.schema))

    def next_columns(self) -> dict[str, Any]:
        """One row as arrays `[1, *shape]` by name, of objects for what is no number."""
        return {name: _column(value) for name, value in self.fetch()._asdict().items()}

    def next(self) -> Any:
        """One row, as a namedtuple."""
        return self.fetch()

    def __next__(self) -> Any:
        return self.fetch()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __enter__(self) -> ReaderMock:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self.join()

    def stop(self) -> None:
        """Nothing runs, so nothing stops."""
        self.stopped = True

    def join(self) -> None:
        """Nothing runs, so there is nothing to wait for."""

    def reset(self) -> None:
        """Nothing was consumed, so there is nothing to go back to."""
        self.stopped = False


def _column(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "SUO":
        return array[np.newaxis]
    column = np.empty(1, object)
    column[0] = value
    return column

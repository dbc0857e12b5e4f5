"""`petastorm.test_util.reader_mock`: a reader that makes up its rows."""

from __future__ import annotations

from tfpetastorm.reader.mock import ReaderMock as ReaderMock
from tfpetastorm.schema.generate import zeros as schema_data_generator_example

__all__ = ["ReaderMock", "schema_data_generator_example"]

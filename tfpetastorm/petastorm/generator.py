"""`petastorm.generator`: random rows of a schema."""

from __future__ import annotations

from tfpetastorm.schema.generate import OPEN_SIZE as LIST_SIZE
from tfpetastorm.schema.generate import generate_datapoint as generate_datapoint

__all__ = ["LIST_SIZE", "generate_datapoint"]

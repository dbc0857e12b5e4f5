"""Petastorm's readers over this library's engine: rows as namedtuples, row groups as batches of arrays."""

from __future__ import annotations

from tfpetastorm.reader.factories import make_batch_reader, make_reader
from tfpetastorm.reader.reader import Reader

__all__ = ["Reader", "make_batch_reader", "make_reader"]

"""Petastorm's `reader_impl.shuffling_buffer`."""

from __future__ import annotations

from tfpetastorm.reader.shuffling import NoopShufflingBuffer, RandomShufflingBuffer, ShufflingBufferBase

__all__ = ["NoopShufflingBuffer", "RandomShufflingBuffer", "ShufflingBufferBase"]

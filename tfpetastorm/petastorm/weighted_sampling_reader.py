"""Petastorm's `weighted_sampling_reader`."""

from __future__ import annotations

from tfpetastorm.reader.weighted import WeightedSamplingReader

__all__ = ["WeightedSamplingReader"]

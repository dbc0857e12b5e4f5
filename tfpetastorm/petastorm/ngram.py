"""`petastorm.ngram`: samples of consecutive rows."""

from __future__ import annotations

from tfpetastorm.plan.petastorm_ngram import PetastormNGram as NGram

__all__ = ["NGram"]

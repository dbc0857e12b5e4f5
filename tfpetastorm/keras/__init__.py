"""Keras training that goes on where a crash left it."""

from __future__ import annotations

from tfpetastorm.keras.fitting import fit as fit

__all__ = ["fit"]

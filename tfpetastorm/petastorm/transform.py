"""`petastorm.transform`: what a user's function does to rows or batches, and to their schema."""

from __future__ import annotations

from tfpetastorm.read.transform_spec import TransformSpec as TransformSpec
from tfpetastorm.read.transform_spec import edit_field as edit_field
from tfpetastorm.read.transform_spec import transform_schema as transform_schema

__all__ = ["TransformSpec", "edit_field", "transform_schema"]

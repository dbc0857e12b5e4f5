"""`petastorm.utils`: single rows, a call in a process of its own, and metadata."""

from __future__ import annotations

from tfpetastorm.errors import DecodeFieldError as DecodeFieldError
from tfpetastorm.schema.petastorm_fields import decode_row as decode_row

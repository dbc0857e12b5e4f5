"""A codec that only those who are given it can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tfpetastorm.schema.codecs import Codec


@dataclass(frozen=True)
class Reversed(Codec):
    codec_name: ClassVar[str] = "reversed"

    def encode(self, field: Any, value: str) -> bytes:
        return value[::-1].encode()

"""`petastorm.cache`: what a cache is, and one that keeps nothing."""

from __future__ import annotations

from tfpetastorm.read.local_disk_cache import CacheBase as CacheBase
from tfpetastorm.read.local_disk_cache import NullCache as NullCache

__all__ = ["CacheBase", "NullCache"]

"""`petastorm.local_disk_cache`: a cache on a local disk."""

from __future__ import annotations

from tfpetastorm.read.local_disk_cache import LocalDiskCache as LocalDiskCache

__all__ = ["LocalDiskCache"]

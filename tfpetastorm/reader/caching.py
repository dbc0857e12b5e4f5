"""`cache_type=` and its companions."""

from __future__ import annotations

from typing import Any

from tfpetastorm.errors import OptionError


class NoCache:
    """No cache: nothing is kept."""

    disk = None


def cache_of(kind: Any, location: Any, size_limit: Any, row_size: Any, settings: dict[str, Any] | None) -> Any:
    """Has `disk`, the cache of the read tasks or None. Raises OptionError for an unknown type."""
    if kind is None or kind == "null":
        return NoCache()
    if kind != "local-disk":
        raise OptionError(f"Unknown cache_type {kind!r}: there are 'null' and 'local-disk'.")
    # Imported here: most readers keep nothing.
    from tfpetastorm.read.local_disk_cache import LocalDiskCache

    return LocalDiskCache(location, size_limit, row_size, **settings or {})

"""What was asked for: paths, globs or URLs, in which the folder of an artifact's split is no pattern."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow.fs as pafs

from tfpetastorm.stores.filesystem import Location, Url, covers, expand_below, resolve, together

#: As TFX names the folders of splits; the last one in a path counts.
_SPLIT = re.compile(r"(.*/Split-[^/]*)/.")


@dataclass(frozen=True)
class Asked:
    """What was asked for. location: what there is of it. globs: each, as a path, with the folder that is as it is."""

    location: Location
    globs: tuple[tuple[str, str], ...]

    def by_name(self, path: str) -> bool:
        """Whether a file was asked for by its own path."""
        return any(path == pattern for pattern, _ in self.globs)

    def covers(self, path: str) -> bool:
        """Whether a file is one of those asked for, be it there or not."""
        below = any(path.startswith(f"{folder}/") for folder in self.location.paths)
        return below or any(path == glob or covers(glob, folder, path) for glob, folder in self.globs)


def ask(patterns: Url, filesystem: Any = None) -> Asked:
    """What the patterns mean. Raises what `resolve` raises."""
    if isinstance(patterns, str | os.PathLike) or not isinstance(patterns, Iterable):
        return _one(patterns, filesystem)
    asked = [_one(pattern, filesystem) for pattern in patterns]
    return Asked(together([one.location for one in asked]), tuple(glob for one in asked for glob in one.globs))


def _one(pattern: str | os.PathLike[str], filesystem: Any) -> Asked:
    literal = resolve(pattern, filesystem, glob=False)
    if literal.many:  # lists in a list
        return Asked(resolve(pattern, filesystem), ())
    (path,) = literal.paths
    split = _SPLIT.match(path)
    # TFX puts "*" behind an artifact's URI, which is a path and no pattern.
    folder = split.group(1) if split and _is_folder(literal.filesystem, split.group(1)) else ""
    return Asked(expand_below(literal, folder), ((path, folder),))


def _is_folder(filesystem: pafs.FileSystem, path: str) -> bool:
    return bool(filesystem.get_file_info([path])[0].type == pafs.FileType.Directory)

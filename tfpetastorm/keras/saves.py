"""Saves of a training run: what the model is and how far the data has come, one file each.

A save is an uncompressed zip: `save.json` with the position and what the variables are, then each variable's bytes. It
is written beside its place, synced and renamed, so that at whatever moment the machine stops, a file by this name is
whole. The checksums of zip tell a damaged one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tfpetastorm.errors import DamagedDataError, DatasetWarning
from tfpetastorm.plan.position import Position
from tfpetastorm.schema.columns import Array

_FORMAT = "tfpetastorm.save.v1"
_CONTENT = "save.json"
_NAME = re.compile(r"save-(\d+)-(\d+)\.zip")
_UNFINISHED = re.compile(r"\.save-.*\.unfinished")


@dataclass(frozen=True)
class Variable:
    """What a saved variable is: its name, the name of its dtype, and its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Save:
    """A save that was read. content: by variable, its bytes in C order."""

    path: Path
    position: Position
    variables: tuple[Variable, ...]
    content: tuple[bytes, ...]


@dataclass(frozen=True)
class Saves:
    """The saves in a local or mounted folder, of which the newest `keep` stay."""

    folder: Path
    keep: int

    def newest(self) -> Save | None:
        """The newest save that is whole; None if there is none at all. Warns (DatasetWarning) of damaged ones.

        Raises DamagedDataError if there are saves, but all are damaged.
        """
        paths = self._paths()
        for path in reversed(paths):
            try:
                return _read(path)
            except (OSError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile) as error:
                warnings.warn(
                    f"{path} is damaged and left out ({type(error).__name__}: {error}).", DatasetWarning, stacklevel=4
                )
        if paths:
            raise DamagedDataError(
                f"All saves in {self.folder} are damaged, so training can't go on from them. Restore one, or remove "
                "them to start anew."
            )
        return None

    def write(self, position: Position, variables: Sequence[tuple[Variable, Array]]) -> Path:
        """Adds a save and removes those that are too many. Raises OSError."""
        name = f"save-{position.epoch:06}-{position.steps:09}.zip"
        path, unfinished = self.folder / name, self.folder / f".{name}.{secrets.token_hex(8)}.unfinished"
        content = {
            "format": _FORMAT,
            "position": json.loads(position.to_json()),
            "variables": [asdict(variable) for variable, _ in variables],
        }
        try:
            with unfinished.open("wb") as file:
                with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                    archive.writestr(_CONTENT, json.dumps(content, indent=1))
                    for number, (_, array) in enumerate(variables):
                        with archive.open(_member(number), "w", force_zip64=True) as member:
                            member.write(array.tobytes())
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        self._sync()
        for old in self._paths()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def prepare(self) -> None:
        """Makes the folder, and removes what a crash left unfinished. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if _UNFINISHED.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        """All saves, the oldest first: they are named after their place in the run."""
        if not self.folder.is_dir():
            return []
        found = [(path, match) for path in self.folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        return [path for path, _ in sorted(found, key=lambda item: (int(item[1][1]), int(item[1][2])))]

    def _sync(self) -> None:
        """Makes the renaming last. Not every system can open a folder."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _read(path: Path) -> Save:
    with zipfile.ZipFile(path) as archive:
        content = json.loads(archive.read(_CONTENT))
        if content["format"] != _FORMAT:
            raise ValueError(f"it is of format {content['format']!r}; this release reads {_FORMAT}")
        variables = tuple(
            Variable(str(item["name"]), str(item["dtype"]), tuple(map(int, item["shape"])))
            for item in content["variables"]
        )
        values = tuple(archive.read(_member(number)) for number in range(len(variables)))
    return Save(path, Position.from_json(json.dumps(content["position"])), variables, values)


def _member(number: int) -> str:
    return f"variables/{number:06}"

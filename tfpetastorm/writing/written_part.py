"""What one writer of a job has written, told to whoever commits: small, and the same as JSON or pickled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tfpetastorm.errors import DatasetError, OptionError, Place, describe
from tfpetastorm.storage.listing import partition_of

_VERSION = 1
#: Six digits hold an index, so that names sort by it.
MOST_WRITERS = 1_000_000


@dataclass(frozen=True)
class WrittenFile:
    """A file that a writer closed. name: relative to the dataset's root. size: in bytes."""

    name: str
    size: int
    row_groups: int
    rows: int


@dataclass(frozen=True)
class WrittenPart:
    """What `job.writer(index)` has written, to be handed to `job.commit`.

    job: the job's token. index: of the writer. writer: unique to it, also among those of one index. files: those it
    wrote, in order, none if it was given no rows.
    """

    job: str
    index: int
    writer: str
    files: tuple[WrittenFile, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows were written."""
        return sum(file.rows for file in self.files)

    def to_json(self) -> str:
        """This as JSON: about 100 bytes for each file."""
        files = [[file.name, file.size, file.row_groups, file.rows] for file in self.files]
        stored = {"version": _VERSION, "job": self.job, "index": self.index, "writer": self.writer, "files": files}
        return json.dumps(stored, ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> WrittenPart:
        """What `to_json` wrote. Raises `OptionError` if the text is something else."""
        try:
            stored = json.loads(text)
            if stored["version"] != _VERSION:
                raise ValueError(f"version {stored['version']!r}")
            files = tuple(
                WrittenFile(str(name), int(size), int(groups), int(rows))
                for name, size, groups, rows in stored["files"]
            )
            return WrittenPart(str(stored["job"]), int(stored["index"]), str(stored["writer"]), files)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise OptionError(
                describe("this is no description of a written part", expected="what its to_json() gave", found=error)
            ) from None


def base_name(prefix: str, index: int, number: int, job: str, writer: str) -> str:
    """The name, in its folder, of the `number`-th file of a writer. prefix: what all of the job's begin with."""
    return f"{prefix}-{index:06d}-{number:06d}-{job}-{writer}.parquet"


def files_of(
    parts: Iterable[WrittenPart], job: str, prefix: str, partition_by: tuple[str, ...]
) -> dict[str, WrittenFile]:
    """The files of all parts by name. A part that is there twice counts once.

    Raises `OptionError` for a part of another job, and for two writers of one index; `DatasetError` for names that
    such a writer doesn't give.
    """
    by_index: dict[int, WrittenPart] = {}
    files: dict[str, WrittenFile] = {}
    for part in parts:
        if not isinstance(part, WrittenPart):
            raise OptionError(f"commit takes what writers' `written` gave, not {type(part).__name__}.")
        if part.job != job:
            raise OptionError(
                describe(
                    f"part {part.index} was written for another job", expected=f"job {job}", found=f"job {part.job}"
                )
            )
        other = by_index.setdefault(part.index, part)
        if other != part:
            raise OptionError(
                describe(
                    f"two writers of index {part.index} were handed over",
                    expected="one part an index",
                    found=f"writers {other.writer} with {other.rows} rows and {part.writer} with {part.rows}",
                    remedy="If one tried again what the other had done, hand over only one of them; if not, give each "
                    "an index of its own.",
                )
            )
        for file in part.files:
            if not _fits(file.name, part, prefix, partition_by):
                what = "a part names a file that its writer doesn't make"
                expected = f"one of writer {part.writer} with index {part.index}"
                raise DatasetError(describe(what, Place(file=file.name), expected=expected, found="another name"))
            files[file.name] = file
    return files


def _fits(name: str, part: WrittenPart, prefix: str, partition_by: tuple[str, ...]) -> bool:
    """Whether the writer may have made a file of this name: none that leads elsewhere, or replaces another's."""
    *folders, base = name.split("/")
    number = re.fullmatch(r".*-(\d{6,})-[^-]+-[^-]+", base)
    if number is None or base != base_name(prefix, part.index, int(number.group(1)), part.job, part.writer):
        return False
    return len(folders) == len(partition_by) and tuple(partition_of(name)) == partition_by

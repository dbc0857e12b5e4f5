"""Every exception that tfpetastorm raises on purpose, and the way an error says where it happened.

A message has four parts: what went wrong, where (field, file, row group, row), what was expected and what was
found, and what to do about it. `describe` puts them together, so that all modules speak alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from tfpetastorm.redaction import redact_text


class TfpetastormError(Exception):
    """Base of all errors raised by this library. URLs in its message show no credentials."""

    def __init__(self, *parts: object) -> None:
        super().__init__(*(redact_text(part) if isinstance(part, str) else part for part in parts))


class SchemaError(TfpetastormError, ValueError):
    """A Unischema, a field or a codec is malformed, or a type has no mapping."""


class SchemaMismatchError(SchemaError):
    """Files of one dataset, or a dataset and the schema asked for, can't be reconciled."""


class DecodeFieldError(TfpetastormError, RuntimeError):
    """`decode_row` met a value that can't be decoded; the message names its field."""


class MissingPackageError(TfpetastormError, ImportError):
    """Something needs a package, or Java, that is not installed; the message says which and how to install it."""


class MissingJavaError(MissingPackageError):
    """Spark has no Java that it runs on; the message says what was found, and what to install."""


class NoFieldsError(SchemaError, RuntimeError):
    """None of the names and patterns that choose fields matches one."""


class EncodeError(TfpetastormError, ValueError):
    """A value handed to a writer does not match its field."""


class DatasetError(TfpetastormError):
    """A dataset can't be opened or written: missing, empty, damaged metadata, or an unusable URL."""


class DatasetExistsError(DatasetError):
    """There is a dataset already where a new one should be written."""


class NoDataAvailableError(DatasetError):
    """There are fewer rows than shards, so that a reader would have none."""


class FilesNotSeenError(DatasetError, RuntimeError):
    """Files that Spark wrote did not appear in time."""


class DatasetWarning(UserWarning):
    """Something about a dataset that its owner should know of, such as files that don't belong to it."""


class DatasetNotFoundError(DatasetError, FileNotFoundError, ValueError):
    """There is nothing at a dataset's URL. Petastorm raised OSError or ValueError for that, by the kind of URL."""


class PetastormMetadataError(DatasetError):
    """A dataset has no metadata of the kind asked for, or it is damaged."""


class PetastormMetadataGenerationError(DatasetError):
    """What was written can't be made a dataset of the schema given; no metadata was written."""


class DatasetChangedError(DatasetError):
    """A file is no longer what it was when the dataset was opened."""


class StoreError(DatasetError):
    """A store failed, or can't be reached, also after several tries. What it holds may be sound: nothing is skipped."""


class UnsortedDataError(DatasetError):
    """Stored rows are not in the order that windows need: time goes back, or a sequence's value returns."""


class UnsafeDataError(DatasetError):
    """Stored bytes ask for something that is never done: running code, or expanding beyond a bound."""


class DamagedDataError(DatasetError):
    """A file, a row group or a cell can't be read or decoded, or decodes to a wrong shape or dtype."""


class NullValueError(TfpetastormError, ValueError):
    """A null was met in a field for which no treatment of nulls was chosen."""


class SkipBudgetError(DamagedDataError):
    """More damaged rows were met than `Skip(budget=...)` allows."""


class MemoryBudgetError(TfpetastormError):
    """What the options need in memory exceeds the budget in bytes."""


class OptionError(TfpetastormError, ValueError):
    """An argument has a value or combination that can't work."""


class HdfsReplacedError(OptionError, RuntimeError, OSError):
    """One of petastorm's own HDFS connectors was asked for; the message shows the call that takes its place."""


class ReplacedError(OptionError, NotImplementedError):
    """Something of petastorm's was asked for that this library replaces; the message shows the new call."""


class PositionError(OptionError):
    """A position to go on from belongs to another dataset, to other options, or is none."""


class TransformError(TfpetastormError, ValueError):
    """A user's transform or predicate failed, or returned something other than it declared."""


class PoolError(TfpetastormError, RuntimeError):
    """Workers can't run a read task: closed, killed repeatedly, or unable to start."""


@dataclass(frozen=True)
class Place:
    """Where something happened. Only the known parts are set.

    `row` counts from 0 within its row group, or within what a writer was given if there is no row group.
    """

    file: str | None = None
    row_group: int | None = None
    row: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        parts = [
            f"field {self.field!r}" if self.field is not None else "",
            f"file {redact_text(self.file)}" if self.file is not None else "",
            f"row group {self.row_group}" if self.row_group is not None else "",
            f"row {self.row}" if self.row is not None else "",
        ]
        return ", ".join(part for part in parts if part)


def describe(
    what: str,
    place: Place | None = None,
    *,
    expected: object = None,
    found: object = None,
    remedy: str | None = None,
) -> str:
    """One message of the common form: `what (place): expected …, found …. remedy`."""
    message = what
    if place is not None and str(place):
        message += f" ({place})"
    if expected is not None or found is not None:
        message += f": expected {expected}, found {found}"
    message += "."
    if remedy:
        message += f" {remedy}"
    return redact_text(message)

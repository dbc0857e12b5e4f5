"""`_common_metadata`: which schema a dataset has and which files belong to it. Read here, as bytes; written by commit.

Four key-value pairs of the footer matter (petastorm's are described in `schema/petastorm_format.py`):

- `tfpetastorm.unischema.v1`: the schema as JSON.
- `tfpetastorm.files.v1`: JSON `{"version": 1, "state": "complete", "files": {name: [rows, row groups]}}`. Only the
  files in it are data. A state of "writing" means that no writer has ever finished.
- `dataset-toolkit.unischema.v1`: petastorm's schema, a pickle.
- `dataset-toolkit.num_row_groups_per_file.v1`: JSON `{name: row groups}`; the same rule holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from tfpetastorm.errors import DatasetError, Place, UnsafeDataError, describe
from tfpetastorm.schema.petastorm_emit import write_pickled_schema
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.footers import read_footer

COMMON_METADATA = "_common_metadata"
UNISCHEMA_KEY = b"tfpetastorm.unischema.v1"
FILES_KEY = b"tfpetastorm.files.v1"
PETASTORM_UNISCHEMA_KEY = b"dataset-toolkit.unischema.v1"
PETASTORM_FILES_KEY = b"dataset-toolkit.num_row_groups_per_file.v1"

_FILES_VERSION = 1
#: How often metadata that looks damaged is read: it may be so once, while it is replaced.
_TRIES = 3


@dataclass(frozen=True)
class ListedFile:
    """What a committed list says of one file; None where it doesn't tell (petastorm's lists have no rows)."""

    row_groups: int | None = None
    rows: int | None = None


@dataclass(frozen=True)
class CommonMetadata:
    """The key-value pairs of a `_common_metadata`, and the committed list among them.

    path: of the file. pairs: all key-value pairs as stored. files: by name relative to the folder, or None if the
    file holds no list. finished: False if the dataset's first writer never committed. columns: its Parquet columns.
    """

    path: str = field(repr=False)
    pairs: Mapping[bytes, bytes] = field(default_factory=dict)
    files: Mapping[str, ListedFile] | None = None
    finished: bool = True
    columns: pa.Schema | None = None

    @property
    def kind(self) -> str:
        """Who wrote it: "tfpetastorm", "petastorm" or "parquet" (anyone else)."""
        if UNISCHEMA_KEY in self.pairs:
            return "tfpetastorm"
        return "petastorm" if PETASTORM_UNISCHEMA_KEY in self.pairs else "parquet"


def read_common_metadata(filesystem: pafs.FileSystem, path: str) -> CommonMetadata:
    """The metadata at `path`. Raises `DatasetError` if it can't be read or its list is malformed."""
    for attempt in range(1, _TRIES + 1):
        try:
            metadata = read_footer(filesystem, path, at_once=True).metadata
            pairs = dict(metadata.metadata or {})
            columns = metadata.schema.to_arrow_schema().remove_metadata()
        except (OSError, ValueError, pa.ArrowException) as error:
            # A commit may have come between a store's answer of how long the file is and the reading.
            if attempt < _TRIES and not isinstance(error, FileNotFoundError):
                continue
            raise DatasetError(
                describe(
                    f"can't read the dataset's metadata: {str(error).rstrip('.')}",
                    Place(file=path),
                    remedy="Restore the file. Without it the dataset is plain Parquet: its schema is lost.",
                )
            ) from None
        return parse_pairs(path, pairs, columns)
    raise AssertionError("unreachable")


def parse_pairs(path: str, pairs: Mapping[bytes, bytes], columns: pa.Schema | None = None) -> CommonMetadata:
    """The metadata that has these key-value pairs. Raises `DatasetError` if its list is malformed."""
    if FILES_KEY in pairs:
        stored = _json(pairs[FILES_KEY], FILES_KEY, path)
        if stored.get("version") != _FILES_VERSION:
            raise _malformed(FILES_KEY, path, f"version {_FILES_VERSION}", f"version {stored.get('version')!r}")
        files = _listed(stored.get("files"), FILES_KEY, path)
        return CommonMetadata(path, pairs, files, stored.get("state") == "complete", columns)
    if PETASTORM_FILES_KEY in pairs:
        stored = _json(pairs[PETASTORM_FILES_KEY], PETASTORM_FILES_KEY, path)
        return CommonMetadata(path, pairs, _listed(stored, PETASTORM_FILES_KEY, path), columns=columns)
    return CommonMetadata(path, pairs, columns=columns)


def files_json(files: Mapping[str, ListedFile], *, writing: str | None = None, writer: str | None = None) -> bytes:
    """The value of `tfpetastorm.files.v1`.

    writing: the token of the dataset's first writer, while it is at work. writer: of the job that committed last.
    """
    listed = {name: [file.rows, file.row_groups] for name, file in sorted(files.items())}
    stored: dict[str, Any] = {"version": _FILES_VERSION, "state": "complete", "files": listed}
    if writing is not None:
        stored |= {"state": "writing", "writer": writing}
    elif writer is not None:
        stored["writer"] = writer
    return json.dumps(stored, ensure_ascii=False).encode()


def petastorm_files_json(files: Mapping[str, ListedFile]) -> bytes:
    """The value of `dataset-toolkit.num_row_groups_per_file.v1`."""
    return json.dumps({name: file.row_groups for name, file in sorted(files.items())}).encode()


def dataset_pairs(schema: Unischema, files: Mapping[str, ListedFile], *, petastorm: bool) -> dict[bytes, bytes]:
    """What a dataset's metadata says of its schema and its files.

    petastorm: also in petastorm's way. Raises `SchemaError` if its form can't express the schema.
    """
    pairs = {UNISCHEMA_KEY: schema.to_json().encode(), FILES_KEY: files_json(files)}
    if petastorm:
        pairs[PETASTORM_UNISCHEMA_KEY] = write_pickled_schema(schema)
        pairs[PETASTORM_FILES_KEY] = petastorm_files_json(files)
    return pairs


def common_metadata_bytes(columns: pa.Schema, pairs: Mapping[bytes, bytes]) -> bytes:
    """A `_common_metadata` file with these columns and key-value pairs, and no rows."""
    kept = {key: value for key, value in pairs.items() if key != b"ARROW:schema"}
    sink = pa.BufferOutputStream()
    if hasattr(pq.ParquetWriter, "add_key_value_metadata"):
        # Without Arrow's own copy of the schema, which would repeat all pairs in base64.
        with pq.ParquetWriter(sink, columns, store_schema=False) as writer:
            writer.add_key_value_metadata(kept)
    else:  # pyarrow before 16
        pq.ParquetWriter(sink, columns.with_metadata(kept)).close()
    return bytes(sink.getvalue().to_pybytes())


def _json(text: bytes, key: bytes, path: str) -> dict[str, Any]:
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed(key, path, "JSON", str(error)) from None
    if not isinstance(stored, dict):
        raise _malformed(key, path, "a JSON object", type(stored).__name__)
    return stored


def _listed(stored: object, key: bytes, path: str) -> dict[str, ListedFile]:
    if not isinstance(stored, dict):
        raise _malformed(key, path, "a table of files", type(stored).__name__)
    files = {}
    for name, counts in stored.items():
        rows, row_groups = counts if isinstance(counts, list) and len(counts) == 2 else (None, counts)
        if not _is_count(row_groups) or not _is_count(rows):
            raise _malformed(key, path, "counts of rows and row groups", repr(counts))
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
            raise UnsafeDataError(
                describe("the committed list names a file outside the dataset", Place(file=path), found=repr(name))
            )
        files["/".join(part for part in parts if part not in ("", "."))] = ListedFile(row_groups, rows)
    return files


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def _malformed(key: bytes, path: str, expected: object, found: object) -> DatasetError:
    return DatasetError(
        describe(
            f"the metadata under {key.decode()} is damaged",
            Place(file=path),
            expected=expected,
            found=found,
            remedy="Restore the file, or write the dataset again.",
        )
    )

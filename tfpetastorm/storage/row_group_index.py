"""Row-group indexes as they are stored: a JSON file beside `_common_metadata`, or petastorm's pickle.

`_tfpetastorm_index.json` in the dataset's folder, whose name every reader of Parquet folders ignores:

    {"version": 1,
     "files": [{"name": ..., "size": ..., "mtime_ns": ..., "footer": <SHA-256>, "row_groups": ...}, ...],
     "indexes": {<name>: {"kind": "values" | "not_null" | "own", "fields": [...],
                          "values": [[<value>, [[<place in files>, [<row group in that file>, ...]], ...]], ...]}}}

A value is a JSON bool, number or string, or one of another type as `{<type>: <text>}`: float (what JSON has no number
for), bytes (in base64), decimal, datetime (in ISO 8601, up to nanoseconds). An index holds for the very files it was
built from: should one have another size, time or footer, be gone or be new, the indexes are refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetChangedError, DatasetError, OptionError, Place, SchemaError, describe
from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.petastorm_index import INDEX_KEY, read_pickled_indexes
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.indexers import (
    FieldNotNullIndexer,
    RowGroupIndexerBase,
    SingleFieldIndexer,
    StoredIndexer,
    index_key,
)
from tfpetastorm.storage.metadata import COMMON_METADATA, read_common_metadata
from tfpetastorm.storage.selectors import RowGroupSelectorBase
from tfpetastorm.stores.atomic import replace_file
from tfpetastorm.stores.filesystem import join

INDEX_NAME = "_tfpetastorm_index.json"
VERSION = 1

_INSTANT = re.compile(r"-?\d{4,6}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,9})?)?")
_REMEDY = "Build it anew with build_rowgroup_index."


def selected_row_groups(dataset: StoredDataset, selector: RowGroupSelectorBase) -> Array:
    """bool `[row groups]`: those that a selector chooses.

    Raises OptionError if it asks for an index that there is not, DatasetChangedError if the files are not those that
    were indexed, DatasetError if the indexes are damaged.
    """
    if not isinstance(selector, RowGroupSelectorBase):
        raise OptionError(
            describe("rowgroup_selector is no selector", expected="a RowGroupSelectorBase", found=repr(selector))
        )
    wanted = list(selector.get_index_names())
    indexes = find_indexes(dataset)
    missing = [name for name in wanted if name not in indexes]
    if missing:
        there = f"There are {list(indexes)}." if indexes else "The dataset has none."
        raise OptionError(f"The selector asks for row-group indexes {missing}. {there} {_REMEDY}")
    count = len(dataset.inventory.row_group_rows)
    keep = np.zeros(count, np.bool_)
    for group in selector.select_row_groups({name: indexes[name] for name in wanted}):
        if not 0 <= group < count:
            raise DatasetError(f"A row-group index names row group {group}, and there are {count}. {_REMEDY}")
        keep[group] = True
    return keep


def find_indexes(dataset: StoredDataset) -> dict[str, RowGroupIndexerBase]:
    """The indexes of a dataset by name; none if it has none. Raises as `selected_row_groups` does."""
    path = join(dataset.root, INDEX_NAME)
    if dataset.filesystem.get_file_info([path])[0].type != pafs.FileType.NotFound:
        return _decoded(dataset, _loaded(dataset, path), path)
    return _of_petastorm(dataset)


def store_indexes(dataset: StoredDataset, indexers: Iterable[RowGroupIndexerBase]) -> None:
    """Write indexes of a dataset, in place of those that were there. Raises OptionError for a value that can't be
    stored, DatasetError if the dataset's folder can't be written."""
    stored = {
        "version": VERSION,
        "files": _identities(dataset),
        "indexes": {indexer.index_name: _encoded(dataset, indexer) for indexer in indexers},
    }
    path = join(dataset.root, INDEX_NAME)
    try:
        replace_file(dataset.filesystem, path, json.dumps(stored, ensure_ascii=False, allow_nan=False).encode())
    except (OSError, pa.ArrowException, NotImplementedError) as error:
        raise DatasetError(f"can't write the row-group index {path}: {error}") from error


def _identities(dataset: StoredDataset) -> list[dict[str, Any]]:
    return [
        {
            "name": file.name,
            "size": file.size,
            "mtime_ns": file.mtime_ns,
            "footer": hashlib.sha256(footer.raw).hexdigest(),
            "row_groups": footer.metadata.num_row_groups,
        }
        for file, footer in zip(dataset.files, dataset.footers, strict=True)
    ]


def _check_identity(dataset: StoredDataset, stored: list[dict[str, Any]], path: str) -> None:
    now = {file["name"]: file for file in _identities(dataset)}
    then = {file["name"]: file for file in stored}
    what = ""
    for name in sorted({*now, *then}):
        old, new = then.get(name), now.get(name)
        if old is None or new is None:
            what = f"file {name} is {'new' if old is None else 'gone'}"
        elif old["footer"] != new["footer"] or old["size"] != new["size"]:
            what = f"file {name} was written anew"
        elif old["mtime_ns"] != new["mtime_ns"]:
            what = f"file {name} was written anew, or copied"
        if what:
            raise DatasetChangedError(
                describe(f"The row-group index is older than the dataset: {what}", Place(file=path), remedy=_REMEDY)
            )


def _loaded(dataset: StoredDataset, path: str) -> dict[str, Any]:
    try:
        with dataset.filesystem.open_input_file(path) as file:
            stored = json.loads(file.read())
        if stored["version"] != VERSION:
            raise ValueError(f"it has version {stored['version']!r}")
        return dict(stored)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(path, error) from None


def _damaged(path: str, error: Exception) -> DatasetError:
    return DatasetError(
        describe(
            f"The row-group index can't be read: {type(error).__name__}: {str(error).rstrip('.')}",
            Place(file=path),
            remedy=_REMEDY,
        )
    )


# ---------------------------------------------------------------------- JSON


def _encoded(dataset: StoredDataset, indexer: RowGroupIndexerBase) -> dict[str, Any]:
    kind = {SingleFieldIndexer: "values", FieldNotNullIndexer: "not_null"}.get(type(indexer), "own")
    values = indexer.indexed_values if kind != "not_null" else [None]
    places = [[_value_to_json(value), _places(dataset, indexer.get_row_group_indexes(value))] for value in values]
    return {"kind": kind, "fields": list(indexer.column_names), "values": places}


def _places(dataset: StoredDataset, groups: Iterable[int]) -> list[list[Any]]:
    by_file: dict[int, list[int]] = {}
    for group in sorted(groups):
        file = int(dataset.inventory.row_group_file[group])
        by_file.setdefault(file, []).append(int(dataset.inventory.row_group_ordinal[group]))
    return [[file, ordinals] for file, ordinals in by_file.items()]


def _decoded(dataset: StoredDataset, stored: dict[str, Any], path: str) -> dict[str, RowGroupIndexerBase]:
    try:
        _check_identity(dataset, stored["files"], path)
        numbers = {file.name: i for i, file in enumerate(dataset.files)}
        # By file and row group in that file, wherever the file now stands in the dataset's order.
        number_of = {
            (int(file), int(ordinal)): group
            for group, (file, ordinal) in enumerate(
                zip(dataset.inventory.row_group_file, dataset.inventory.row_group_ordinal, strict=True)
            )
        }
        files = [numbers[file["name"]] for file in stored["files"]]
        found: dict[str, RowGroupIndexerBase] = {}
        for name, index in stored["indexes"].items():
            groups = {
                _value_from_json(value): {number_of[files[file], ordinal] for file, some in places for ordinal in some}
                for value, places in index["values"]
            }
            found[name] = _indexer(name, index["kind"], index["fields"], groups)
        return found
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError) as error:
        if isinstance(error, OptionError):
            raise
        raise _damaged(path, error) from None


def _indexer(name: str, kind: str, fields: list[str], groups: Mapping[Any, set[int]]) -> RowGroupIndexerBase:
    if kind == "own":
        return StoredIndexer(name, fields, groups)
    (field,) = fields
    if kind == "not_null":
        present = FieldNotNullIndexer(name, field)
        for numbers in groups.values():
            for number in numbers:
                present.add(True, number)
        return present
    if kind != "values":
        raise ValueError(f"an index of kind {kind!r}")
    indexer = SingleFieldIndexer(name, field)
    for value, numbers in groups.items():
        for number in numbers:
            indexer.add([value], number)
    return indexer


def _value_to_json(value: Any) -> Any:
    value = index_key(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise OptionError(f"{value!r} can't be stored in a row-group index: it is not Unicode.") from None
        return value
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, np.datetime64):
        return {"datetime": str(value)}
    raise OptionError(
        describe(
            "A value can't be stored in a row-group index",
            expected="bool, int, float, str, bytes, Decimal or datetime",
            found=f"{type(value).__name__} {value!r:.60}",
        )
    )


def _value_from_json(stored: Any) -> Any:
    if not isinstance(stored, dict):
        return stored
    ((kind, text),) = stored.items()
    if kind == "float":
        return float(text)
    if kind == "bytes":
        return base64.b64decode(text, validate=True)
    if kind == "decimal":
        return Decimal(text)
    if kind == "datetime" and _INSTANT.fullmatch(text):
        return index_key(np.datetime64(text))
    raise ValueError(f"a value of type {kind!r}")


# ------------------------------------------------------- petastorm's pickle


def _of_petastorm(dataset: StoredDataset) -> dict[str, RowGroupIndexerBase]:
    path = join(dataset.root, COMMON_METADATA)
    summary = join(dataset.root, "_metadata")
    kinds = [info.type for info in dataset.filesystem.get_file_info([path, summary])]
    if kinds[0] == pafs.FileType.NotFound:
        return {}
    metadata = read_common_metadata(dataset.filesystem, path)
    if INDEX_KEY not in metadata.pairs:
        return {}
    try:
        pickled = read_pickled_indexes(metadata.pairs[INDEX_KEY])
    except SchemaError as error:
        raise _damaged(path, error) from None
    # petastorm numbers row groups in the order of its list of files; it keeps nothing to check a file against.
    now = {
        file.name: footer.metadata.num_row_groups for file, footer in zip(dataset.files, dataset.footers, strict=True)
    }
    then = {name: listed.row_groups for name, listed in (metadata.files or {}).items()}
    if kinds[1] != pafs.FileType.NotFound or now != then:
        why = "the dataset has a _metadata file" if now == then else "files are not those of petastorm's list"
        raise DatasetChangedError(
            describe(
                f"petastorm's row-group index can't be used: {why}, so its numbers of row groups may mean others",
                Place(file=path),
                remedy=_REMEDY,
            )
        )
    found: dict[str, RowGroupIndexerBase] = {}
    for name, index in pickled.items():
        groups = {} if index.values is None else index.values
        if index.values is None:
            found[name] = _indexer(name, "not_null", [index.field], {None: set(index.present)})
            continue
        field = dataset.schema.fields.get(index.field)
        text = field is not None and field.kind == "text"
        by_value: dict[Any, set[int]] = {}
        for value, numbers in groups.items():
            key = index_key(value)
            # Python 2 wrote texts as bytes.
            key = key.decode("utf-8", "replace") if text and isinstance(key, bytes) else key
            by_value.setdefault(key, set()).update(numbers)
        found[name] = _indexer(name, "values", [index.field], by_value)
    return found

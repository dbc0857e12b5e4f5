"""Fields whose values come from the names of folders (`key=value/`), typed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from tfpetastorm.errors import DatasetError, Place, SchemaMismatchError, describe
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.storage.inventory import DataFile


def partition_keys(files: Sequence[DataFile]) -> tuple[str, ...]:
    """The keys all files share, outermost first. Raises `SchemaMismatchError` if files differ in them."""
    if not files:
        return ()
    keys = tuple(files[0].partition)
    for file in files:
        if tuple(file.partition) != keys:
            raise SchemaMismatchError(
                describe(
                    f"files lie in different partition folders: {files[0].name} and {file.name}",
                    expected=list(keys),
                    found=list(file.partition),
                    remedy="Bring all files to the same depth, or open one part only.",
                )
            )
    return keys


def infer_partition_field(name: str, files: Sequence[DataFile]) -> UnischemaField:
    """The field that folder names suggest: int64 if every value is written as an integer would be, else text."""
    values = {file.partition[name] for file in files}
    texts = values - {None}
    whole = bool(texts) and all(text is not None and _is_int64(text) for text in texts)
    return UnischemaField(name, np.int64 if whole else np.str_, (), None, None in values)


def partition_values(field: UnischemaField, files: Sequence[DataFile]) -> tuple[Any, ...]:
    """The value of `field` in each file, as its folders tell: a Python value, `np.datetime64` for times.

    Raises `DatasetError` naming the file for one that isn't of the field's type.
    """
    return tuple(_typed(field, file) for file in files)


def folder_value(field: UnischemaField, value: Any) -> str:
    """How the folder of `value` spells it, before quoting; what `partition_values` reads back."""
    if field.dtype == np.bool_:
        return "true" if value else "false"
    if field.kind == "bytes":
        return bytes(value).decode()
    if field.kind in ("date", "datetime"):
        return str(np.datetime64(value)).replace("T", " ")
    return str(value)


def _typed(field: UnischemaField, file: DataFile) -> Any:
    text = file.partition[field.name]
    if text is None:
        if not field.nullable:
            raise _unsuitable(field, file, "a null")
        return None
    try:
        return _parse(field, text)
    except (ValueError, KeyError, ArithmeticError):
        raise _unsuitable(field, file, repr(text)) from None


def _parse(field: UnischemaField, text: str) -> Any:
    if field.kind == "text":
        return text
    if field.kind == "bytes":
        return text.encode()
    if field.kind == "decimal":
        return Decimal(text)
    if field.kind == "date":
        return dt.date.fromisoformat(text)
    if field.kind == "datetime":
        return np.array([text]).astype(field.dtype)[0]
    if field.dtype == np.bool_:
        return {"true": True, "false": False, "True": True, "False": False, "1": True, "0": False}[text]
    if field.dtype.kind in "iu":
        value = int(text)
        info = np.iinfo(field.dtype)
        if not info.min <= value <= info.max:
            raise ValueError(text)
        return value
    return float(field.dtype.type(text))


def _unsuitable(field: UnischemaField, file: DataFile, found: str) -> DatasetError:
    return DatasetError(
        describe(
            "a partition folder's value does not suit its field",
            Place(field=field.name, file=file.path),
            expected=field.kind if field.kind != "number" else field.dtype,
            found=found,
        )
    )


def _is_int64(text: str) -> bool:
    try:
        return str(int(text)) == text and -(2**63) <= int(text) < 2**63
    except ValueError:
        return False

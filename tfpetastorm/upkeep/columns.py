"""The Arrow columns that a dataset's files have in common, whichever file a row came from."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from tfpetastorm.schema.codecs import arrow_type
from tfpetastorm.schema.reconcile import reconcile
from tfpetastorm.storage.dataset import StoredDataset


def stored_columns(stored: StoredDataset, names: Sequence[str]) -> pa.Schema:
    """The columns of these fields as files that hold all rows of the dataset need them: types as stored, widened where
    files differ. Fields kept in folder names get the type that they have by themselves.

    Raises `SchemaMismatchError` naming two files whose types have no common one.
    """
    tops = {stored.column_paths[name][0] for name in names if name in stored.column_paths}
    common = reconcile(
        {
            file.path: pa.schema([column for column in stored.arrow_schema(i) if column.name in tops])
            for i, file in enumerate(stored.files)
        }
    )
    return pa.schema([_column(stored, common, name) for name in names])


def _column(stored: StoredDataset, common: pa.Schema, name: str) -> pa.Field:
    field = stored.schema.fields[name]
    path = stored.column_paths.get(name)
    if path is None or common.get_field_index(path[0]) < 0:
        return pa.field(name, arrow_type(field), field.nullable)
    column = common.field(path[0])
    kind, nullable = column.type, column.nullable
    for member in path[1:]:
        inner = kind.field(kind.get_field_index(member))
        kind, nullable = inner.type, nullable or inner.nullable
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.field(name, kind, nullable)


def as_stored(array: pa.Array, kind: pa.DataType | None) -> pa.Array:
    """`array` as a column of this type; with None only a dictionary is undone."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if kind is None or array.type == kind:
        return array
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, array.cast(kind.storage_type))
    return array.cast(kind)

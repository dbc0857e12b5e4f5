"""Examples as TFX lays them out: whole datasets, or bare Parquet files whose Unischema lies with or above them."""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetWarning, SchemaError
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.footers import Footer, read_footers
from tfpetastorm.storage.listing import Listing, list_dataset
from tfpetastorm.storage.metadata import COMMON_METADATA, UNISCHEMA_KEY, CommonMetadata, read_common_metadata
from tfpetastorm.storage.opening import stored_dataset
from tfpetastorm.stores.filesystem import Url, join, resolve
from tfpetastorm.tfxio.features import read_form


def open_examples(
    patterns: Url, *, filesystem: Any = None, codecs: Iterable[type[Codec]] = (), all_columns: bool = False
) -> StoredDataset:
    """The Parquet files at one or several paths, globs or URLs, as a dataset of which images are read encoded.

    Its Unischema is that of a `_common_metadata` in the files' folder; else what the files' own footers say; else of a
    `_common_metadata` in the folder above (an artifact's splits share one); else it is inferred. Columns that no field
    can hold are left out; `metadata_problems` names them, and so does a DatasetWarning if `all_columns` are wanted.

    Raises what `open_dataset` raises, and SchemaError where no column is left.
    """
    location = resolve(patterns, filesystem)
    listing = list_dataset(location)
    files = list(listing.files)
    footers = [footer for footer in read_footers(location.filesystem, files) if footer is not None]
    listing = _with_schema(listing, footers, location.filesystem)
    stored = stored_dataset(location, listing, files, footers, tuple(codecs), "omit", "never")
    problems = stored.metadata_problems[len(listing.problems) :]
    if not stored.schema.fields:
        raise SchemaError(f"no column of {location.url} can be read: {'; '.join(problems) or 'there is none'}.")
    for problem in problems if all_columns else ():
        warnings.warn(f"{location.url}: {problem}", DatasetWarning, stacklevel=2)
    read = Unischema.rebuilt(stored.schema.schema_name, [read_form(field) for field in stored.schema])
    return replace(stored, schema=read)


def _with_schema(listing: Listing, footers: list[Footer], filesystem: pafs.FileSystem) -> Listing:
    """The listing, with metadata that holds a schema, if there is any."""
    if any(one.kind != "parquet" for one in listing.metadata):
        return listing
    own = [footer.metadata.metadata or {} for footer in footers]
    if own and all(UNISCHEMA_KEY in pairs for pairs in own):
        found = {pairs[UNISCHEMA_KEY]: file.path for pairs, file in zip(own, listing.files, strict=True)}
        return replace(
            listing, metadata=tuple(CommonMetadata(path, {UNISCHEMA_KEY: text}) for text, path in found.items())
        )
    above = join(posixpath.dirname(listing.root), COMMON_METADATA)
    if filesystem.get_file_info([above])[0].type == pafs.FileType.File:
        metadata = read_common_metadata(filesystem, above)
        if metadata.kind != "parquet":
            return replace(listing, metadata=(metadata,))
    return listing

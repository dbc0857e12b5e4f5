"""Examples as TFX lays them out: whole datasets, or bare Parquet files whose Unischema lies with or above them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tfpetastorm.errors import DatasetWarning, SchemaError
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.footers import read_footers
from tfpetastorm.storage.listing import list_dataset
from tfpetastorm.storage.opening import stored_dataset
from tfpetastorm.stores.filesystem import Url
from tfpetastorm.tfxio.asked import ask
from tfpetastorm.tfxio.features import read_form
from tfpetastorm.tfxio.ruling import Ruling


def open_examples(
    patterns: Url, *, filesystem: Any = None, codecs: Iterable[type[Codec]] = (), all_columns: bool = False
) -> StoredDataset:
    """The Parquet files at one or several paths, globs or URLs, as a dataset of which images are read encoded.

    Its Unischema is that of a `_common_metadata` in the files' folder; else what the files' own footers say; else of a
    `_common_metadata` in a folder above (an artifact's splits share one); else it is inferred. Files of several
    artifacts must agree in it. Where it has a committed list, files are held against that, as `open_dataset` does.
    Columns that no field can hold are left out; `metadata_problems` names them, and so does a DatasetWarning if
    `all_columns` are wanted.

    Raises what `open_dataset` raises, and SchemaError where no column is left.
    """
    asked = ask(patterns, filesystem)
    location = asked.location
    listing = list_dataset(location)
    ruling = Ruling(listing, asked)
    listing = ruling.held()
    files = list(listing.files)
    footers = [footer for footer in read_footers(location.filesystem, files) if footer is not None]
    listing = ruling.with_schemas(listing, footers)
    stored = stored_dataset(location, listing, files, footers, tuple(codecs), "omit", "never")
    problems = stored.metadata_problems[len(listing.problems) :]
    if not stored.schema.fields:
        raise SchemaError(f"no column of {location.url} can be read: {'; '.join(problems) or 'there is none'}.")
    for problem in problems if all_columns else ():
        warnings.warn(f"{location.url}: {problem}", DatasetWarning, stacklevel=2)
    read = Unischema.rebuilt(stored.schema.schema_name, [read_form(field) for field in stored.schema])
    return replace(stored, schema=read)

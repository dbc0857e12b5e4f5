"""`open_dataset`: from a URL to a `StoredDataset`, reading footers only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, OptionError, Place, describe
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.storage.dataset import SIDECAR_MIN_FILES, StoredDataset, row_group_arrays
from tfpetastorm.storage.footers import Footer, OnBadFile, Progress, read_footers
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.storage.listing import Listing, list_dataset
from tfpetastorm.storage.sidecar import Sidecar, StoredFooter, load_sidecar, store_sidecar
from tfpetastorm.storage.unify import unify
from tfpetastorm.stores.filesystem import Location, Url, resolve

SidecarUse = Literal["auto", "always", "never"]


def open_dataset(
    url: Url,
    *,
    filesystem: Any = None,
    codecs: Iterable[type[Codec]] = (),
    unmapped: Literal["error", "omit"] = "error",
    sidecar: SidecarUse = "auto",
    on_bad_file: OnBadFile | None = None,
    progress: Progress | None = None,
) -> StoredDataset:
    """Open a dataset without reading rows: its schema, exact row count, row groups and their statistics.

    url: a path, a `Path`, any URL of `pyarrow.fs` or fsspec, a glob, or a list of files or folders.
    filesystem: a pyarrow or fsspec filesystem to find it on. codecs: your own codec classes that its schema may name.
    unmapped: what to do with a column of plain Parquet that no field can hold: "error", or "omit" to leave it out.
    sidecar: a file in the dataset's folder that caches footers: "auto" makes one for 64 files and more, "always"
    makes one, "never" neither makes nor reads one. It is checked against every file's size and time.
    on_bad_file: called with a `DataFile` and the error where a file is missing, truncated or no Parquet; if it
    returns, the file is left out. progress: called with the number of footers read and of all.

    The schema is, in this order: our own JSON, petastorm's pickle (read symbolically, nothing is run), or inferred.
    Files are those of the committed list where there is one, and each is held against it.

    Raises `DatasetError` if nothing is there or its metadata is damaged, `DamagedDataError` (a `DatasetError`) naming
    a file that can't be read, `SchemaMismatchError` naming two files that can't be reconciled, and `SchemaError`
    naming a column that no field can hold. Warns with `DatasetWarning` of Parquet files outside the committed list.
    """
    if sidecar not in ("auto", "always", "never"):
        raise OptionError(f"sidecar={sidecar!r} is none of 'auto', 'always', 'never'.")
    if unmapped not in ("error", "omit"):
        raise OptionError(f"unmapped={unmapped!r} is none of 'error', 'omit'.")
    location = resolve(url, filesystem)
    listing = list_dataset(location, on_bad_file)
    files, footers = _footers(location, listing, sidecar, on_bad_file, progress)
    use: SidecarUse = "never" if location.many else sidecar
    return stored_dataset(location, listing, files, footers, tuple(codecs), unmapped, use)


def stored_dataset(
    location: Location,
    listing: Listing,
    files: list[DataFile],
    footers: list[Footer],
    codecs: tuple[type[Codec], ...],
    unmapped: Literal["error", "omit"],
    sidecar: SidecarUse,
) -> StoredDataset:
    """The dataset of files that were listed and whose footers were read. Arguments and errors are `open_dataset`'s."""
    _check_against_list(listing, files, footers)
    unified = unify(listing, files, footers, codecs, unmapped)
    return StoredDataset(
        url=location.url,
        filesystem=location.filesystem,
        root=listing.root,
        kind=unified.kind,
        schema=unified.schema,
        inventory=row_group_arrays(files, footers),
        footers=tuple(footers),
        arrow_schemas=unified.arrow_schemas,
        column_paths=unified.column_paths,
        partition_fields=unified.partition_fields,
        metadata_problems=(*listing.problems, *unified.problems),
        sidecar=sidecar,
    )


def _footers(
    location: Location, listing: Listing, use: SidecarUse, on_bad_file: OnBadFile | None, progress: Progress | None
) -> tuple[list[DataFile], list[Footer]]:
    filesystem: pafs.FileSystem = location.filesystem
    # A list of files may span datasets; a sidecar belongs to one.
    use = "never" if location.many else use
    cached = load_sidecar(filesystem, listing.root) if use != "never" and listing.has_sidecar else Sidecar()
    found = read_footers(filesystem, listing.files, known=cached.footer, on_bad_file=on_bad_file, progress=progress)
    pairs = [(file, footer) for file, footer in zip(listing.files, found, strict=True) if footer is not None]
    if use == "always" or (use == "auto" and len(listing.files) >= SIDECAR_MIN_FILES):
        footers = {
            file.name: StoredFooter(file.size, file.mtime_ns, footer.raw)
            for file, footer in pairs
            if file.mtime_ns >= 0
        }
        if footers and footers != dict(cached.footers):
            store_sidecar(filesystem, listing.root, replace(cached, footers=footers))
    return [file for file, _ in pairs], [footer for _, footer in pairs]


def _check_against_list(listing: Listing, files: list[DataFile], footers: list[Footer]) -> None:
    for file, footer in zip(files, footers, strict=True):
        listed = listing.listed.get(file.name)
        if listed is None:
            continue
        metadata = footer.metadata
        for what, expected, found in (
            ("row groups", listed.row_groups, metadata.num_row_groups),
            ("rows", listed.rows, metadata.num_rows),
        ):
            if expected is not None and expected != found:
                raise DatasetError(
                    describe(
                        f"a file doesn't have the {what} that the dataset's metadata lists",
                        Place(file=file.path),
                        expected=expected,
                        found=found,
                        remedy="Restore the file that was committed, or write the metadata anew.",
                    )
                )

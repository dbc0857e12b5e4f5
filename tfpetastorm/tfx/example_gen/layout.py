"""An Examples artifact: where its files lie, and the metadata that says what they are.

`<uri>/Split-<name>/*.parquet` are the rows, and nothing else is in those folders, as all of TFX reads whatever is.
`<uri>/_common_metadata` holds the Unischema and the list of all files, so that the artifact opens as one dataset too.
Of files that hold lists for TFX's own readers, the Unischema is kept under a key of its own: it is that of what the
lists were made of, and none by which the files could be decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, SchemaMismatchError, describe
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.petastorm_format import read_pickled_schema
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.footers import read_footers
from tfpetastorm.storage.listing import data_file
from tfpetastorm.storage.metadata import (
    COMMON_METADATA,
    FILES_KEY,
    PETASTORM_UNISCHEMA_KEY,
    UNISCHEMA_KEY,
    ListedFile,
    common_metadata_bytes,
    files_json,
    read_common_metadata,
)
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.stores.atomic import renames, replace_file
from tfpetastorm.stores.filesystem import join, resolve

LISTS_KEY = b"tfpetastorm.arrow-lists.v1"
#: Where files are written before they get their name, on filesystems that rename.
SCRATCH = ".writing"


@dataclass(frozen=True)
class Artifact:
    """The place of an Examples artifact. root: its folder, as the filesystem knows it."""

    filesystem: pafs.FileSystem
    root: str

    @staticmethod
    def at(uri: str) -> Artifact:
        """The artifact at `uri`."""
        location = resolve(uri, glob=False)
        return Artifact(location.filesystem, location.paths[0])

    def folder(self, split: str) -> str:
        """Where the files of a split lie."""
        return join(self.root, f"Split-{split}")

    def path(self, split: str, name: str) -> str:
        """Where a file of a split lies."""
        return join(self.folder(split), name)

    def clear(self, splits: Iterable[str]) -> None:
        """Make the splits' folders, where there are folders. An attempt that failed leaves nothing in them."""
        if self.filesystem.get_file_info([join(self.root, COMMON_METADATA)])[0].type == pafs.FileType.File:
            self.filesystem.delete_file(join(self.root, COMMON_METADATA))
        for folder in [join(self.root, SCRATCH), *map(self.folder, splits)]:
            if self.filesystem.get_file_info([folder])[0].type == pafs.FileType.Directory:
                self.filesystem.delete_dir(folder)
        if renames(self.filesystem):
            for split in splits:
                self.filesystem.create_dir(self.folder(split), recursive=True)

    def finish(self, splits: Iterable[str], columns: pa.Schema, pairs: Mapping[bytes, bytes]) -> dict[str, int]:
        """Write the metadata of whatever is in the splits' folders. Returns their numbers of rows.

        columns: of the files. pairs: what says what they are.
        """
        listed: dict[str, ListedFile] = {}
        rows: dict[str, int] = {}
        for split in splits:
            infos = self.filesystem.get_file_info(pafs.FileSelector(self.folder(split)))
            files = [data_file(info, f"Split-{split}/{info.base_name}") for info in infos]
            footers = [footer.metadata for footer in read_footers(self.filesystem, files) if footer is not None]
            listed |= {
                file.name: ListedFile(metadata.num_row_groups, metadata.num_rows)
                for file, metadata in zip(files, footers, strict=True)
            }
            rows[split] = sum(metadata.num_rows for metadata in footers)
        content = common_metadata_bytes(columns.remove_metadata(), {**pairs, FILES_KEY: files_json(listed)})
        replace_file(self.filesystem, join(self.root, COMMON_METADATA), content)
        return rows


def artifact_schema(uri: str, splits: Iterable[str], codecs: Iterable[type[Codec]] = ()) -> Unischema:
    """The Unischema of an Examples artifact of Parquet, whoever made it; inferred if none is stored.

    It is looked for in the artifact's folder, then in those of the splits, then in the footers of files. Raises
    `SchemaMismatchError` where the splits differ, and what `open_dataset` raises.
    """
    artifact, codecs = Artifact.at(uri), tuple(codecs)
    metadata = join(artifact.root, COMMON_METADATA)
    if artifact.filesystem.get_file_info([metadata])[0].type == pafs.FileType.File:
        stored = _schema_in(read_common_metadata(artifact.filesystem, metadata).pairs, codecs)
        if stored is not None:
            return stored
    found: dict[str, Unischema] = {}
    for split in splits:
        dataset = open_dataset(
            artifact.folder(split), filesystem=artifact.filesystem, codecs=codecs, unmapped="omit", sidecar="never"
        )
        own = [_schema_in(footer.metadata.metadata or {}, codecs) for footer in dataset.footers]
        found[repr(split)] = own[0] if dataset.kind == "parquet" and own and own[0] is not None else dataset.schema
    if not found:
        raise DatasetError(f"the artifact at {uri} has no splits.")
    return common_schema(found, f"splits of the artifact at {uri}:")


def common_schema(found: Mapping[str, Unischema], what: str, remedy: str | None = None) -> Unischema:
    """The one schema of all. Raises `SchemaMismatchError` with the names of two that differ, and in which fields."""
    first, *others = found
    for other in others:
        if tuple(found[other]) != tuple(found[first]):
            raise SchemaMismatchError(
                describe(
                    f"the {what} {first} and {other} have different schemas",
                    expected=_own_fields(found[first], found[other]),
                    found=_own_fields(found[other], found[first]),
                    remedy=remedy,
                )
            )
    return found[first]


def _own_fields(one: Unischema, other: Unischema) -> str:
    """The fields that the other has not."""
    return ", ".join(repr(str(field)) for field in one if field not in tuple(other)) or "no others, or in another order"


def _schema_in(pairs: Mapping[bytes, bytes], codecs: tuple[type[Codec], ...]) -> Unischema | None:
    for key in (UNISCHEMA_KEY, LISTS_KEY):
        if key in pairs:
            return Unischema.from_json(pairs[key].decode(), codecs)
    if PETASTORM_UNISCHEMA_KEY in pairs:
        return read_pickled_schema(pairs[PETASTORM_UNISCHEMA_KEY], codecs)
    return None

"""A dataset's folder as it is, however damaged: its metadata, its files and what lies beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetChangedError, DatasetError, OptionError, Place, describe
from tfpetastorm.storage.footers import read_footer
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.storage.listing import data_file, is_data_name, parquet_like, parquet_names
from tfpetastorm.storage.metadata import COMMON_METADATA, common_metadata_bytes
from tfpetastorm.stores.atomic import replace_file
from tfpetastorm.stores.filesystem import Url, join, resolve
from tfpetastorm.writing.intent import exclusive

#: Hadoop's checksum of the metadata.
CHECKSUM = "._common_metadata.crc"
SUMMARY = "_metadata"
SUMMARY_CHECKSUM = "._metadata.crc"


@dataclass(frozen=True, eq=False)
class Folder:
    """What lies in one dataset's folder.

    url: for messages. root: its path on `filesystem`. content: of `_common_metadata`, None if there is none. pairs,
    columns: what that file holds; columns is None and damage says why if it can't be read. data: files that readers
    may take for data, by name. others: names of all other files.
    """

    url: str
    filesystem: pafs.FileSystem
    root: str
    content: bytes | None
    pairs: Mapping[bytes, bytes]
    columns: pa.Schema | None
    damage: str | None
    data: Mapping[str, DataFile]
    others: frozenset[str] = field(repr=False)

    @property
    def metadata_path(self) -> str:
        """Where `_common_metadata` is, or would be."""
        return join(self.root, COMMON_METADATA)

    def read(self, name: str) -> bytes:
        """The content of a file, by name."""
        with self.filesystem.open_input_stream(join(self.root, name), compression=None) as file:
            return bytes(file.read())

    def replace_metadata(self, columns: pa.Schema, pairs: Mapping[bytes, bytes]) -> None:
        """Put a new `_common_metadata` in place, in one step. Hadoop's checksum of the old one goes.

        Raises `DatasetChangedError` if somebody changed it since the folder was looked at.
        """
        with exclusive(self.filesystem, self.root) as sure:
            self._replace_unchanged(common_metadata_bytes(columns, pairs), sure)

    def _replace_unchanged(self, new: bytes, sure: Callable[[], None]) -> None:
        content = self.read(COMMON_METADATA) if self.content is not None else None
        if content != self.content:
            place = Place(file=self.metadata_path)
            remedy = "Nothing was written. Try again, while nobody else writes."
            raise DatasetChangedError(describe("the metadata has changed meanwhile", place, remedy=remedy))
        # Before, not after: without a checksum Hadoop reads either file, with an old one only the old.
        self.delete(CHECKSUM)
        sure()
        replace_file(self.filesystem, self.metadata_path, new)

    def delete(self, name: str) -> None:
        """Delete a file if it is there."""
        if name in self.others:
            with contextlib.suppress(FileNotFoundError):
                self.filesystem.delete_file(join(self.root, name))


def look(url: Url, filesystem: object = None) -> Folder:
    """What lies at `url`. Raises `DatasetError` if it is no folder or can't be listed."""
    location = resolve(url, filesystem, glob=False)
    if location.many:
        raise OptionError("metadata belongs to one folder, not a list.")
    store, root = location.filesystem, location.paths[0]
    try:
        if store.get_file_info([root])[0].type != pafs.FileType.Directory:
            raise DatasetError(f"{location.url} is no folder. Metadata belongs to the folder of a dataset.")
        infos = store.get_file_info(pafs.FileSelector(root, recursive=True))
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"can't list {location.url}: {error}") from None
    files = {info.path[len(root) :].lstrip("/"): info for info in infos if info.type == pafs.FileType.File}
    candidates = [name for name in files if is_data_name(name)]
    data = {}
    for name in sorted(parquet_names(candidates)):
        info = files[name]
        if parquet_like(name) or info.size:  # a mark such as `done` without content is no data
            data[name] = data_file(info, name)
    content, pairs, columns, damage = None, {}, None, None
    if COMMON_METADATA in files:
        path = join(root, COMMON_METADATA)
        with store.open_input_stream(path, compression=None) as file:
            content = bytes(file.read())
        try:
            metadata = read_footer(store, path).metadata
            pairs = dict(metadata.metadata or {})
            columns = metadata.schema.to_arrow_schema().remove_metadata()
        except (OSError, ValueError, pa.ArrowException) as error:
            damage = " ".join(str(error).split()).rstrip(".")
    others = frozenset(files.keys() - data.keys() - {COMMON_METADATA})
    return Folder(location.url, store, root, content, pairs, columns, damage, data, others)

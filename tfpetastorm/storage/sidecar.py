"""One file in a dataset's root that saves work: footers already read, and counts already made.

It is a hint. A footer counts only while the file's size and modification time are those it was read under, a count
only under the fingerprint it was made for, and a sidecar that is damaged in any way counts as absent. Its name starts
with "_", so that every reader of Parquet folders ignores it.

On disk: `_MAGIC`, the SHA-256 of what follows, then an Arrow IPC file (zstd) of one table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import Place
from tfpetastorm.schema.columns import Array
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.stores.atomic import replace_file
from tfpetastorm.stores.filesystem import is_local, join
from tfpetastorm.stores.patience import TROUBLE
from tfpetastorm.stores.retrying import retried

SIDECAR_NAME = "_tfpetastorm.sidecar"

_MAGIC = b"TPSIDE01"
_SCHEMA = pa.schema(
    [
        # Footers: the file's name. Counts: the caller's key.
        pa.field("key", pa.string(), nullable=False),
        # Footers: empty. Counts: the dataset's fingerprint.
        pa.field("fingerprint", pa.string(), nullable=False),
        # Counts: -1 in both.
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("payload", pa.large_binary(), nullable=False),
    ]
)


@dataclass(frozen=True)
class StoredFooter:
    """A footer's bytes and the file's size and time they were read under."""

    size: int
    mtime_ns: int
    raw: bytes


@dataclass(frozen=True)
class Sidecar:
    """What a sidecar holds.

    footers: by file name, relative to the root. counts: by (fingerprint, key), each an int64 array.
    """

    footers: Mapping[str, StoredFooter] = field(default_factory=dict)
    counts: Mapping[tuple[str, str], Array] = field(default_factory=dict)

    def footer(self, file: DataFile) -> bytes | None:
        """The footer of `file` if it was read from just this size and time."""
        # Without a time, a file rewritten in the same size would go unnoticed.
        stored = self.footers.get(file.name) if file.mtime_ns >= 0 else None
        if stored is None or (stored.size, stored.mtime_ns) != (file.size, file.mtime_ns):
            return None
        return stored.raw


def load_sidecar(filesystem: pafs.FileSystem, root: str) -> Sidecar:
    """The sidecar under `root`; an empty one if there is none or it can't be used."""
    read = partial(_read, filesystem, join(root, SIDECAR_NAME))
    try:
        if is_local(filesystem):
            return _decode(read())
        return _decode(retried(read, "The sidecar can't be read", Place(file=join(root, SIDECAR_NAME))))
    except (*TROUBLE, ValueError, KeyError):
        return Sidecar()


def _read(filesystem: pafs.FileSystem, path: str) -> bytes:
    with filesystem.open_input_file(path) as file:
        return bytes(file.read())


def store_sidecar(filesystem: pafs.FileSystem, root: str, sidecar: Sidecar) -> bool:
    """Write `sidecar` under `root`, replacing it in one step. False where the store can't be written."""
    try:
        replace_file(filesystem, join(root, SIDECAR_NAME), _encode(sidecar))
    except (*TROUBLE, NotImplementedError):
        return False
    return True


def _encode(sidecar: Sidecar) -> bytes:
    rows: list[tuple[str, str, int, int, bytes]] = [
        (name, "", footer.size, footer.mtime_ns, footer.raw) for name, footer in sorted(sidecar.footers.items())
    ]
    for (fingerprint, key), counts in sorted(sidecar.counts.items()):
        rows.append((key, fingerprint, -1, -1, np.ascontiguousarray(counts, "<i8").tobytes()))
    columns = [pa.array([row[i] for row in rows], kind.type) for i, kind in enumerate(_SCHEMA)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, _SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA))
    body = sink.getvalue().to_pybytes()
    return b"".join([_MAGIC, hashlib.sha256(body).digest(), body])


def _decode(content: bytes) -> Sidecar:
    start = len(_MAGIC) + hashlib.sha256().digest_size
    # The checksum comes first: pyarrow trusts the offsets in what it is given.
    if content[: len(_MAGIC)] != _MAGIC or content[len(_MAGIC) : start] != hashlib.sha256(content[start:]).digest():
        raise ValueError("damaged sidecar")
    with pa.ipc.open_file(pa.BufferReader(content[start:])) as reader:
        table = reader.read_all()
    footers: dict[str, StoredFooter] = {}
    counts: dict[tuple[str, str], Array] = {}
    for row in zip(*(table.column(kind.name).to_pylist() for kind in _SCHEMA), strict=True):
        key, fingerprint, size, mtime_ns, payload = row
        if fingerprint:
            counts[fingerprint, key] = np.frombuffer(payload, "<i8").astype(np.int64)
        else:
            footers[key] = StoredFooter(size, mtime_ns, payload)
    return Sidecar(footers, counts)

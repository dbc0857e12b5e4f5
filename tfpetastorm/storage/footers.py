"""Reading Parquet footers: all files at once, one request each.

The raw bytes are kept, so that the sidecar can store them and no footer is ever parsed from a file twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from tfpetastorm.errors import DamagedDataError, Place, describe
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.stores.filesystem import is_local
from tfpetastorm.stores.retrying import retried

#: Called with the number done and the number of all; may draw a progress bar.
Progress: TypeAlias = Callable[[int, int], None]
#: Called with a file that can't be read and why; if it returns, the file is left out.
OnBadFile: TypeAlias = Callable[[DataFile, DamagedDataError], None]

#: Nearly every footer fits, so that one request per file is enough.
_TAIL = 1 << 16
_MAGIC = b"PAR1"
#: pyarrow's own limits refuse footers with large key-value metadata, such as petastorm's row-group index.
_THRIFT_LIMIT = 2**31 - 1
#: Requests under way at once: they wait for the store, not for the CPU.
_THREADS = 16


@dataclass(frozen=True, eq=False)
class Footer:
    """A file's footer. raw: its Thrift bytes as stored. metadata: the same, parsed."""

    raw: bytes
    metadata: pq.FileMetaData


def read_footers(
    filesystem: pafs.FileSystem,
    files: Sequence[DataFile],
    *,
    known: Callable[[DataFile], bytes | None] | None = None,
    on_bad_file: OnBadFile | None = None,
    progress: Progress | None = None,
) -> list[Footer | None]:
    """The footers of `files`, in their order; None for those that `on_bad_file` let pass.

    known: the raw footer of a file if it is cached, which saves its reading.
    Raises `DamagedDataError` naming the first file, in order, that is missing, truncated or no Parquet.
    """

    def one(file: DataFile) -> Footer | DamagedDataError:
        raw = known(file) if known is not None else None
        try:
            if raw is not None:
                return parse_footer(raw)
            return read_footer(filesystem, file.path, file.size)
        except _UnreadableError as error:
            return DamagedDataError(_bad_file(file.path, str(error)))
        except (OSError, pa.ArrowException, ValueError) as error:
            return DamagedDataError(_bad_file(file.path, f"{type(error).__name__}: {error}"))

    footers: list[Footer | None] = []
    with ThreadPoolExecutor(min(_THREADS, max(1, len(files))), "tfpetastorm-footer") as threads:
        pending = [threads.submit(one, file) for file in files]
        try:
            for file, task in zip(files, pending, strict=True):
                result = task.result()
                if isinstance(result, DamagedDataError):
                    if on_bad_file is None:
                        raise result
                    on_bad_file(file, result)
                    footers.append(None)
                else:
                    footers.append(result)
                if progress is not None:
                    progress(len(footers), len(files))
        finally:
            for task in pending:
                task.cancel()
    return footers


class _UnreadableError(ValueError):
    """What is wrong with a file, in words."""


def _bad_file(path: str, reason: str) -> str:
    return describe(
        f"can't read the Parquet footer: {reason.rstrip('.')}",
        Place(file=path),
        remedy="Restore or remove the file; make_dataset and ParquetDataset can leave it out: on_error=Skip(...).",
    )


def read_footer(filesystem: pafs.FileSystem, path: str, size: int | None = None, *, at_once: bool = False) -> Footer:
    """The footer of one file.

    at_once: read the whole file by one request, which can't get parts of two contents where it is being replaced.
    Raises `ValueError`, `OSError` or one of pyarrow's exceptions if it can't be read, `StoreError` if a store fails.
    """
    read = partial(_footer_of, filesystem, path, size, at_once)
    return read() if is_local(filesystem) else retried(read, "A file's footer can't be read", Place(file=path))


def _footer_of(filesystem: pafs.FileSystem, path: str, size: int | None, at_once: bool) -> Footer:
    with filesystem.open_input_file(path) as file:
        # A store that gives no size in its listing knows it once the file is open.
        size = size if size is not None and size >= 0 else file.size()
        if size < 12:
            raise _UnreadableError(f"it has {size} bytes, too few for Parquet")
        length = size if at_once else min(size, _TAIL)
        tail = _exactly(file, length, size - length)
        if tail[-4:] != _MAGIC:
            if tail[-4:] == b"PARE":
                raise _UnreadableError("its footer is encrypted, which is not supported")
            raise _UnreadableError("it is no Parquet file, or truncated")
        length = int.from_bytes(tail[-8:-4], "little")
        if length + 12 > size:
            raise _UnreadableError(f"its footer claims {length} bytes in a file of {size}")
        raw = tail[-8 - length : -8] if length + 8 <= len(tail) else _exactly(file, length, size - 8 - length)
    return parse_footer(raw)


def _exactly(file: pa.NativeFile, length: int, offset: int) -> bytes:
    found = bytes(file.read_at(length, offset))
    if len(found) != length:
        # A connection that was cut, or a file that has become shorter.
        raise OSError(f"{len(found)} bytes came instead of {length}")
    return found


def parse_footer(raw: bytes) -> Footer:
    """The footer whose Thrift bytes are `raw`. Raises one of pyarrow's exceptions if they are damaged."""
    # The smallest file that has this footer: pyarrow parses footers only from files.
    whole = b"".join([_MAGIC, raw, len(raw).to_bytes(4, "little"), _MAGIC])
    options: dict[str, Any] = {
        "thrift_string_size_limit": _THRIFT_LIMIT,
        "thrift_container_size_limit": _THRIFT_LIMIT,
    }
    with pq.ParquetFile(pa.BufferReader(whole), **options) as file:
        return Footer(raw, file.metadata)

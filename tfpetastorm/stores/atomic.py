"""Replacing a file so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import Place
from tfpetastorm.stores.filesystem import is_local
from tfpetastorm.stores.fsspec_handler import FsspecHandler, without_secrets
from tfpetastorm.stores.patience import StoreHandler
from tfpetastorm.stores.retrying import retried

#: Filesystems that rename in one step, by what they call themselves: the local one, Hadoop's, SSH's, and those of
#: TensorFlow that do.
_RENAMING = frozenset(
    {
        *("local", "fsspec+file", "fsspec+local", "hdfs", "fsspec+sftp", "fsspec+ssh"),
        *("gfile+file", "gfile+hdfs", "gfile+ram", "gfile+viewfs"),
    }
)
#: Object stores: what is uploaded shows once it is complete, and there are no renames. pyarrow's names and fsspec's.
_OBJECT_STORES = frozenset(
    {
        *("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "wasb", "wasbs", "oss", "obs", "oci", "ocilake"),
        *("tos", "hf", "memory", "http", "https"),
    }
)
#: What drivers say that rename nothing over a file that is there.
_OCCUPIED = re.compile(r"(already|file) exists|collision", re.IGNORECASE)
#: Streams that failed before all was written. Kept for good: pyarrow's and fsspec's publish what they have when they
#: are closed, and close themselves when they are let go.
_UNFINISHED: list[Any] = []


def replace_file(filesystem: pafs.FileSystem, path: str, content: bytes, scratch: str | None = None) -> None:
    """Make `content` the file at `path` in one step, and on a local filesystem lasting through a power cut.

    scratch: a folder on the same filesystem for the file while it is written; by default that of `path`.
    Object stores show a file only once it is complete; everywhere else it is written beside and moved into place. Where
    a driver can't move it over a file that is there, that is written anew, while the whole content lies beside it.
    Raises `OSError` or one of pyarrow's exceptions, `StoreError` if a store fails; the old file is then still there,
    unless the store completes later what its client gave up on.
    """
    if _shows_whole(filesystem):
        write = partial(_undisturbed, partial(_upload, filesystem, path, content))
    else:
        write = partial(_move_into_place, filesystem, path, content, scratch)
    if is_local(filesystem):
        write()
    else:
        retried(write, "A file can't be written", Place(file=path))


def _move_into_place(filesystem: pafs.FileSystem, path: str, content: bytes, scratch: str | None) -> None:
    folder, slash, name = path.rpartition("/")
    written = f"{scratch}/" if scratch else folder + slash
    written += f".{name}.{uuid.uuid4().hex}"
    try:
        _write(filesystem, written, content)
        if is_local(filesystem):
            flush(written)
            filesystem.move(written, path)
        elif not _moved(filesystem, written, path):
            # For whoever is killed in the middle of this, the whole content still lies beside it.
            _write(filesystem, path, content)
            filesystem.delete_file(written)
    except BaseException:
        with contextlib.suppress(OSError, pa.ArrowException):  # never made: the first error is the one to show
            filesystem.delete_file(written)
        raise
    if is_local(filesystem):
        flush(folder or "/")


def _moved(filesystem: pafs.FileSystem, source: str, target: str) -> bool:
    try:
        filesystem.move(source, target)
    except NotImplementedError:
        return False
    except OSError as error:
        if isinstance(error, FileExistsError) or _OCCUPIED.search(str(error)):
            return False
        raise
    # Some drivers refuse without a word.
    return bool(filesystem.get_file_info([source])[0].type == pafs.FileType.NotFound)


def _upload(filesystem: pafs.FileSystem, path: str, content: bytes) -> None:
    """Make an object: in one request, where the driver has one for that."""
    handler = getattr(filesystem, "handler", None)
    if isinstance(handler, StoreHandler):
        handler = getattr(handler.filesystem, "handler", None)
    if not isinstance(handler, FsspecHandler):
        _write(filesystem, path, content)
        return
    try:
        handler.fs.pipe_file(path, content)
    except Exception as error:  # noqa: BLE001 - whatever a third-party filesystem raises
        raised = without_secrets(error, handler.fs)
    else:
        return
    # Outside of the handling: the first error must not be shown as the context of the second.
    raise raised


def _write(filesystem: pafs.FileSystem, path: str, content: bytes) -> None:
    file = open_new(filesystem, path)
    try:
        file.write(content)
    except BaseException:
        _UNFINISHED.append(file)
        raise
    # Not by `with`, which closes after an exception too: on a store that would publish what is there, even nothing.
    file.close()


def _undisturbed(call: Callable[[], None]) -> None:
    """Make a call that Ctrl-C does not interrupt: raised meanwhile, it is raised once the call is over.

    Raised a second time, it is raised at once, and the call goes on by itself.
    """
    if threading.current_thread() is not threading.main_thread():
        call()  # signals are for the main thread only
        return
    raised: list[BaseException] = []
    over = threading.Event()

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            raised.append(error)
        finally:
            over.set()

    threading.Thread(target=run, name="tfpetastorm-upload", daemon=True).start()
    try:
        over.wait()
    except BaseException:
        over.wait()
        raise
    if raised:
        raise raised[0]


def open_new(filesystem: pafs.FileSystem, path: str) -> Any:
    """An output stream to the file at `path`, whose folder is made where files need one: object stores have none."""
    try:
        return filesystem.open_output_stream(path, compression=None)
    except FileNotFoundError:
        # Only now: on stores, asking for folders takes requests, and leaves objects that stand for them.
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        return filesystem.open_output_stream(path, compression=None)


@contextlib.contextmanager
def alone(filesystem: pafs.FileSystem, folder: str) -> Iterator[None]:
    """Within the block nobody else on this machine is in one of the same folder; who wants to be waits.

    So that a file can be replaced only if it is as it was. Without effect on stores, and where there are no locks.
    """
    handle = _locked(folder) if is_local(filesystem) else None
    try:
        yield
    finally:
        if handle is not None:
            import fcntl

            # Not by closing alone: a process that was forked meanwhile has the folder open too.
            fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)


def _locked(folder: str) -> int | None:
    try:
        import fcntl
    except ImportError:  # not POSIX
        return None
    try:
        handle = os.open(folder or "/", os.O_RDONLY)
    except OSError:  # not there, or not to be opened
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except BaseException as error:
        os.close(handle)
        if not isinstance(error, OSError):
            raise
        return None  # some network filesystems lock no folders
    return handle


def renames(filesystem: pafs.FileSystem) -> bool:
    """Whether a file can be moved in one step."""
    return _kind(filesystem) in _RENAMING


def _shows_whole(filesystem: pafs.FileSystem) -> bool:
    """Whether a file is seen only once all of it is written."""
    kind = _kind(filesystem)
    # TensorFlow's that have no renames are object stores.
    return kind.removeprefix("fsspec+") in _OBJECT_STORES or (kind.startswith("gfile+") and kind not in _RENAMING)


def _kind(filesystem: Any) -> str:
    """What the filesystem calls itself that is behind all folders that play the root, and others that hand on."""
    if isinstance(filesystem, pafs.SubTreeFileSystem):
        return _kind(filesystem.base_fs)
    if not isinstance(filesystem, pafs.FileSystem):  # fsspec's
        inner = getattr(filesystem, "fs", None)
        if isinstance(inner, pafs.FileSystem) or hasattr(inner, "_strip_protocol"):
            return _kind(inner)
        protocol = filesystem.protocol
        return f"fsspec+{protocol if isinstance(protocol, str) else protocol[0]}"
    handler = getattr(filesystem, "handler", None)
    if isinstance(handler, StoreHandler):
        return _kind(handler.filesystem)
    if isinstance(handler, pafs.FSSpecHandler):
        return _kind(handler.fs)
    return str(filesystem.type_name).removeprefix("py::")


def flush(path: str) -> None:
    """Have the local file or folder at `path` written to the disk."""
    with contextlib.suppress(PermissionError):  # some systems can't open a folder
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

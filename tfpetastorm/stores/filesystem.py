"""From what a user calls a dataset (path, URL, glob, list of files) to a filesystem and paths on it.

pyarrow's own filesystems come first: they read without the GIL. Whatever pyarrow doesn't know goes through fsspec, and
what that doesn't know through TensorFlow's `tf.io.gfile`, each imported only then. A URL may hold credentials, so no
message ever repeats one unredacted.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, TypeAlias
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, OptionError
from tfpetastorm.redaction import redact, scrub, secrets_of_url
from tfpetastorm.stores.gfile import knows, why_not
from tfpetastorm.stores.gfile_handler import GfileHandler, gfile_filesystem
from tfpetastorm.stores.options import with_limits
from tfpetastorm.stores.patience import StoreHandler, on_fsspec, patient

Url: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+)(::|://)")
_FILE_URL = re.compile(r"^file:(?:(?=/(?!/))|//(localhost)?(?=/))", re.IGNORECASE)
#: Hadoop's older names of S3.
_ALIASES = {"s3a": "s3", "s3n": "s3"}
_HDFS_REMEDY = (
    "Install a Hadoop client with libhdfs and a Java runtime, set JAVA_HOME and HADOOP_HOME (or ARROW_LIBHDFS_DIR to "
    "the folder of libhdfs.so), and CLASSPATH to the output of `hadoop classpath --glob`"
)
#: URLs of these may hold what pyarrow understands, and fsspec's drivers don't.
_BUCKETS = ("s3", "gs", "gcs", "abfs", "abfss")
#: Which package teaches fsspec a scheme, for the error that says so.
_FSSPEC_PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "smb": "smbprotocol",
    "oss": "ossfs",
}


@dataclass(frozen=True)
class Location:
    """Where a dataset lies.

    filesystem: any pyarrow filesystem (fsspec objects come wrapped). paths: one path of a folder or file, or several
    if a list or glob was given, as the filesystem knows them, without a trailing "/". url: what the user gave, for
    messages, without credentials. many: whether a list or glob was given.
    """

    filesystem: pafs.FileSystem
    paths: tuple[str, ...] = field(repr=False)
    url: str
    many: bool = False


def resolve(url: Url, filesystem: Any = None, *, glob: bool = True) -> Location:
    """The filesystem and path(s) that `url` means.

    url: a plain path, a `Path`, `file://…`, a URI of `pyarrow.fs` (`s3://`, `gs://`, `hdfs://`, `abfs://`…), any URL
    that fsspec knows or else `tf.io.gfile`, a glob (`*`, `**`, `[…]`, and `?` in plain paths), or a list of these on
    one filesystem.
    filesystem: a `pyarrow.fs.FileSystem` or fsspec filesystem to use instead; `url` is then a URL or path on it.
    glob: False takes every character as it is.

    Raises `DatasetError` if the URL can't be used, naming what to install; it doesn't look whether a path exists,
    except that a glob without a match is an error.
    """
    if isinstance(url, (str, os.PathLike)):
        found = _resolve_one(_text(url), filesystem)
        return expand_below(found, "") if glob else found
    if not isinstance(url, Iterable):
        raise OptionError(f"a dataset is a str, a Path or a list of these, not {type(url).__name__}.")
    return together([resolve(item, filesystem) for item in url])


def expand_below(found: Location, folder: str) -> Location:
    """A location of one path, resolved with `glob=False`, with its glob expanded.

    folder: a path above it whose characters are as they are: only what is below it may be a glob. "" for none.
    Raises `DatasetError` for a glob without a match.
    """
    path = found.paths[0]
    if not _is_glob(path[len(folder) :], found.url) or _exists(found.filesystem, path):
        return found
    matches = _expand(found.filesystem, path[len(folder) :], folder)
    if not matches:
        raise DatasetError(f"nothing matches the glob {found.url}. `_` and `.` names never match.")
    return Location(found.filesystem, tuple(matches), found.url, many=True)


def covers(pattern: str, folder: str, path: str) -> bool:
    """Whether a path is one that `expand_below` finds for a glob, were it there. pattern: the glob with its folder."""
    if folder and not path.startswith(f"{folder}/"):
        return False
    rest, asked = path[len(folder) :], pattern[len(folder) :]
    if "**" in asked:
        return fnmatch.fnmatchcase(rest, asked)
    return PurePosixPath(join("/", rest.lstrip("/"))).match(join("/", asked.lstrip("/")))


def together(items: Sequence[Location]) -> Location:
    """Several locations as one. Raises `DatasetError` if they are none, or of several filesystems, or name a path
    twice."""
    if not items:
        raise DatasetError("an empty list of files is no dataset.")
    for item in items[1:]:
        if item.filesystem != items[0].filesystem:
            raise DatasetError(f"files of one dataset lie on one filesystem, but {items[0].url} and {item.url} don't.")
    paths = tuple(path for item in items for path in item.paths)
    doubles = {path for path in paths if paths.count(path) > 1} if len(set(paths)) < len(paths) else set()
    if doubles:
        raise DatasetError(f"the list of files names {sorted(doubles)[0]} more than once.")
    more = f" and {len(items) - 1} more" if len(items) > 1 else ""
    return Location(items[0].filesystem, paths, items[0].url + more, many=True)


def is_local(filesystem: pafs.FileSystem) -> bool:
    """Whether files lie on this machine's own filesystem, where a rename is atomic and locks work."""
    return isinstance(filesystem, pafs.LocalFileSystem)


def join(root: str, name: str) -> str:
    """The path of `name` under `root`."""
    return posixpath.join(root, name) if root else name


def _text(url: str | os.PathLike[str]) -> str:
    text = os.fspath(url)
    if not isinstance(text, str):
        raise OptionError(f"a dataset's path is a str, not {type(text).__name__}.")
    if not text:
        raise DatasetError("an empty string is no path of a dataset.")
    # Of nobody's home it is a name, as a shell has it.
    return os.path.expanduser(text)  # noqa: PTH111 - pathlib's fails there, and changes the rest of the path


def _resolve_one(url: str, filesystem: Any) -> Location:
    shown = redact(url)
    if filesystem is not None:
        return _on_given(url, shown, filesystem)
    local = _FILE_URL.match(url)
    if local:
        return Location(pafs.LocalFileSystem(), (_trim(unquote(url[local.end() :])),), shown)
    scheme = _SCHEME.match(url)
    if not scheme:
        return Location(pafs.LocalFileSystem(), (_trim(os.path.abspath(url)),), shown)  # noqa: PTH100 - links stay as they are
    if scheme.group(1).lower() == "file":
        raise DatasetError(f"{shown} names a host or a relative path. Write file:///absolute/path or a plain path.")
    name = _ALIASES.get(scheme.group(1).lower(), scheme.group(1).lower())
    url = name + url[len(scheme.group(1)) :]
    problem = ""
    if scheme.group(2) == "://":
        try:
            return _by_pyarrow(url, shown)
        except (pa.ArrowException, OSError, ValueError, TypeError) as error:
            problem = scrub(str(error).partition("\n")[0], secrets_of_url(url))
        if name in ("hdfs", "viewfs"):
            raise DatasetError(f"can't reach {shown}: {problem}. {_HDFS_REMEDY}.") from None
        if name in _BUCKETS and url != redact(url):
            # fsspec would take the credentials for a part of the bucket's name, and tell it in all its errors.
            raise DatasetError(
                f"can't use {shown}: {problem}. Quote what is in it (%2F for / in a key), or give filesystem=."
            )
    return _by_fsspec(url, shown, name, problem)


def _by_pyarrow(url: str, shown: str) -> Location:
    # pyarrow would leave out what follows a "#", and take another dataset. "*" and "[" are no characters of a URI, so
    # only what precedes them is handed to it as one.
    head, _, query = url.replace("#", "%23").partition("?")
    parts = head.split("/")
    plain = next((i for i, part in enumerate(parts) if i > 2 and re.search(r"[*\[]", part)), len(parts))
    filesystem, path = pafs.FileSystem.from_uri("/".join(parts[:plain]) + (f"?{query}" if query else ""))
    return Location(patient(filesystem), (_trim("/".join([path, *map(unquote, parts[plain:])])),), shown)


def _by_fsspec(url: str, shown: str, scheme: str, problem: str) -> Location:
    told = f" (pyarrow says: {problem})" if problem else ""
    try:
        import fsspec

        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        package = _FSSPEC_PACKAGES.get(scheme)
        what = f"`pip install {package}`" if package else f"Install the package that serves {scheme}:// for fsspec"
        text = f"fsspec lacks a package to open {shown}. {what}, or give filesystem=."
        if error.name == "fsspec":
            text = (
                f"pyarrow knows no filesystem for {shown}{told}. Install fsspec (`pip install tfpetastorm[fsspec]`) "
                f"and the package that serves {scheme}://, or give filesystem=."
            )
    except ValueError:
        text = f"neither pyarrow nor fsspec nor tf.io.gfile knows {shown}{told}. Check the URL, or give filesystem=."
    else:
        return _by_fsspecs_url(url, shown, problem)
    if "::" not in url and knows(scheme):
        return _on_given(url, shown, gfile_filesystem(scheme))
    raise DatasetError(f"{text} {why_not(scheme)}".strip())


def _by_fsspecs_url(url: str, shown: str, problem: str) -> Location:
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url, **with_limits(url, {}))
    except Exception as error:  # noqa: BLE001 - whatever a third-party filesystem raises: its message may hold the whole URL
        reasons = [scrub(str(error), secrets_of_url(url)), f"pyarrow says: {problem}" if problem else ""]
        text = f"can't open {shown}: {'; '.join(filter(None, reasons))}. Check the URL, or give filesystem=."
    else:
        userinfo = url.partition("://")[2].rpartition("@")[0]
        if ":" not in userinfo or userinfo not in str(path) or "://" in str(path):
            return Location(on_fsspec(filesystem), (_trim(str(path)),), shown)
        text = (
            f"the driver of {shown} takes no credentials from a URL. Give filesystem=, or storage_options= to a reader."
        )
    raise DatasetError(text)


def _on_given(url: str, shown: str, filesystem: Any) -> Location:
    if isinstance(filesystem, pafs.FileSystem):
        if isinstance(filesystem, pafs.LocalFileSystem):
            if _SCHEME.match(url) and not _FILE_URL.match(url):
                raise OptionError(f"filesystem= is the local filesystem, but {shown} is no local path.")
            return replace(_resolve_one(url, None), filesystem=filesystem)
        handler = getattr(filesystem, "handler", None)
        inner = getattr(handler.filesystem, "handler", None) if isinstance(handler, StoreHandler) else handler
        if isinstance(inner, GfileHandler):
            if inner.scheme == "file":
                if _SCHEME.match(url) and not url.lower().startswith("file:"):
                    raise OptionError(f"filesystem= serves file://, but the dataset is {shown}.")
                # As everywhere else: TensorFlow would take the first folder of a relative path for a host, and leave
                # it out.
                return replace(_resolve_one(url, None), filesystem=patient(filesystem))
            return Location(patient(filesystem), (_trim(inner.path_of(url)),), shown)
        store = on_fsspec(handler.fs) if isinstance(handler, pafs.FSSpecHandler) else patient(filesystem)
        scheme = _SCHEME.match(url)
        if not scheme:
            return Location(store, (_trim(url),), shown)
        netloc, slash, path = url[scheme.end() :].partition("/")
        # Object stores count the bucket as the first folder; for the others it is a host.
        host = scheme.group(1).lower() in ("file", "hdfs", "viewfs", "http", "https", "memory", "mock")
        if _is_bucket(url):
            path = unquote(path)
        return Location(store, (_trim(slash + path if host else netloc.rpartition("@")[2] + slash + path),), shown)
    strip = getattr(filesystem, "_strip_protocol", None)
    if strip is None or not hasattr(filesystem, "info"):
        kind = type(filesystem).__name__
        raise OptionError(f"filesystem= takes a pyarrow.fs or fsspec filesystem, not {kind}.")
    # Drivers take "%20" as it is, and would find another key than pyarrow does by the same URL.
    return Location(on_fsspec(filesystem), (_trim(str(strip(unquote(url) if _is_bucket(url) else url))),), shown)


def _is_bucket(url: str) -> bool:
    """Whether a URL is of a store that pyarrow serves too, by which "%20" in it is a space."""
    scheme = _SCHEME.match(url)
    return scheme is not None and scheme.group(1).lower() in (*_BUCKETS, *_ALIASES)


def _trim(path: str) -> str:
    return path.rstrip("/") or path[:1]


def _is_glob(path: str, url: str) -> bool:
    return any(char in path for char in ("*[" if _SCHEME.match(url) else "*[?"))


def _exists(filesystem: pafs.FileSystem, path: str) -> bool:
    try:
        return bool(filesystem.get_file_info([path])[0].type != pafs.FileType.NotFound)
    except (OSError, pa.ArrowException):
        return False


def _expand(filesystem: pafs.FileSystem, pattern: str, folder: str = "") -> list[str]:
    """All paths that match, sorted. Folders are listed level by level, so that a bucket isn't listed whole.

    folder: what is before the pattern, as it is.
    """
    parts = pattern.split("/")
    first = next(i for i, part in enumerate(parts) if re.search(r"[*\[?]", part))
    bases = [folder + "/".join(parts[:first]) or ("/" if pattern.startswith("/") else "")]
    for i in range(first, len(parts)):
        last = i == len(parts) - 1
        part = parts[i]
        found: list[str] = []
        for base in bases:
            if not re.search(r"[*\[?]", part):
                path = join(base, part)
                found += [path] if _exists(filesystem, path) else []
                continue
            selector = pafs.FileSelector(base, recursive=part == "**", allow_not_found=True)
            found += [base] if part == "**" and not last else []
            for info in filesystem.get_file_info(selector):
                if part == "**":
                    below = posixpath.relpath(info.path, base or ".").split("/")
                    wanted = not any(name.startswith(("_", ".")) for name in below)
                    wanted = wanted and (info.type == pafs.FileType.Directory) != last
                else:
                    hidden = info.base_name.startswith(("_", ".")) and not part.startswith(("_", "."))
                    wanted = not hidden and fnmatch.fnmatchcase(info.base_name, part)
                    wanted = wanted and (last or info.type == pafs.FileType.Directory)
                if wanted:
                    found.append(info.path)
        bases = sorted(set(found))
    return bases

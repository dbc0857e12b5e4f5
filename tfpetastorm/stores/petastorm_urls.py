"""From URLs to filesystems and paths, as petastorm's programs ask for them. Ours ask `stores/filesystem.py`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import ParseResult, urlparse

from tfpetastorm.errors import HdfsReplacedError, OptionError
from tfpetastorm.redaction import redact
from tfpetastorm.stores.filesystem import resolve
from tfpetastorm.stores.options import filesystem_of

#: How an HDFS that petastorm's connectors served is reached now.
HDFS_NOW = (
    "libhdfs finds namenodes and fails over by itself: pass filesystem=pyarrow.fs.HadoopFileSystem(host, port) with "
    "the path, or hdfs:// URLs where CLASSPATH and the Hadoop configuration are set"
)


def warn_of_driver(hdfs_driver: object, stacklevel: int = 3) -> None:
    """DeprecationWarning if petastorm's `hdfs_driver` was given. stacklevel: whose line it names."""
    if hdfs_driver is not None:
        warnings.warn(
            "hdfs_driver has no effect: pyarrow has one HDFS client, libhdfs; petastorm's libhdfs3 is gone from it. "
            "Leave it out.",
            DeprecationWarning,
            stacklevel=stacklevel,
        )


class FilesystemResolver:
    """The filesystem and the path that a URL means.

    dataset_url: with a scheme, as a str or parsed. storage_options: of the scheme's fsspec filesystem. The others were
    for HDFS's connectors, and are not needed. The filesystem is opened when it is asked for.

    Raises OptionError (a ValueError) for a path without a scheme and for object stores without a bucket,
    HdfsReplacedError for `hdfs://`.
    """

    def __init__(
        self,
        dataset_url: str | ParseResult,
        hadoop_configuration: Any = None,
        connector: Any = None,
        hdfs_driver: Any = None,
        user: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        warn_of_driver(hdfs_driver)
        parsed = urlparse(dataset_url) if isinstance(dataset_url, str) else dataset_url
        shown = redact(parsed.geturl())
        if not parsed.scheme:
            raise OptionError(f"{shown!r} has no scheme. Put file:// in front of a path, or use open_dataset, which "
                              "takes paths.")  # fmt: skip
        if parsed.scheme == "hdfs":
            raise HdfsReplacedError(f"FilesystemResolver no longer connects to {shown}: {HDFS_NOW}.")
        if parsed.scheme != "file" and not parsed.netloc:
            raise OptionError(f"{shown!r} names no bucket: such URLs have the form {parsed.scheme}://bucket/path.")
        self._parsed = parsed
        self._open = _Opener(parsed.geturl(), storage_options)
        self._filesystem: Any = None
        if parsed.scheme != "file":
            _check_scheme(parsed.scheme)

    def parsed_dataset_url(self) -> ParseResult:
        """The URL, parsed."""
        return self._parsed

    def get_dataset_path(self) -> str:
        """The path as the filesystem knows it: with the bucket in front for object stores."""
        return get_dataset_path(self._parsed)

    def filesystem(self) -> Any:
        """A `pyarrow.fs` filesystem, or an fsspec one if there are `storage_options`."""
        if self._filesystem is None:
            self._filesystem = self._open()
        return self._filesystem

    def filesystem_factory(self) -> Callable[[], Any]:
        """A function that opens the filesystem anew; it can be pickled, for workers elsewhere."""
        return self._open

    def __getstate__(self) -> Any:
        raise RuntimeError("A FilesystemResolver holds an open filesystem. Pickle its filesystem_factory() instead.")


class _Opener:
    """Opens a filesystem. Can be pickled, and shows nothing of what it needs for that."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None) -> None:
        self._url = url
        self._options = storage_options

    def __call__(self) -> Any:
        given = filesystem_of(self._url, self._options)
        return resolve(self._url, glob=False).filesystem if given is None else given

    def __repr__(self) -> str:
        return f"<opens the filesystem of {redact(self._url)}>"


def _check_scheme(scheme: str) -> None:
    """Raise OptionError for a scheme that neither pyarrow nor fsspec knows."""
    if scheme in ("s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "viewfs"):
        return
    try:
        from fsspec.registry import known_implementations, registry
    except ImportError:
        return
    if scheme not in known_implementations and scheme not in registry:
        raise OptionError(f"No filesystem is known for {scheme}://. Give filesystem=.")


def get_dataset_path(parsed_url: ParseResult) -> str:
    """The path of a parsed URL as its filesystem knows it: with the bucket in front for object stores."""
    if parsed_url.scheme.lower() in ("", "file", "hdfs"):
        return parsed_url.path
    return f"{parsed_url.netloc.rpartition('@')[2]}{parsed_url.path}"


def get_filesystem_and_path_or_paths(
    url_or_urls: str | list[str],
    hdfs_driver: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    filesystem: Any = None,
) -> tuple[Any, str | list[str]]:
    """The filesystem of a URL or of a list of them, and the path or paths on it.

    Raises OptionError (a ValueError) for URLs of several filesystems, and as FilesystemResolver does.
    """
    warn_of_driver(hdfs_driver)
    urls = url_or_urls if isinstance(url_or_urls, list) else [url_or_urls]
    parsed = [urlparse(url) for url in urls]
    if len({(url.scheme, url.netloc) for url in parsed}) != 1:
        raise OptionError("The URLs of one dataset must have the same scheme and netloc, and there must be one.")
    if filesystem is None:
        filesystem = FilesystemResolver(parsed[0], storage_options=storage_options).filesystem()
    paths = [get_dataset_path(url) for url in parsed]
    return filesystem, paths if isinstance(url_or_urls, list) else paths[0]


def normalize_dir_url(dataset_url: Any) -> str:
    """The URL without a slash at its end. Raises OptionError (a ValueError) if it is no str or empty."""
    if not isinstance(dataset_url, str) or not dataset_url:
        raise OptionError(f"A directory's URL is a str that is not empty, not {dataset_url!r}.")
    return dataset_url.removesuffix("/")


def normalize_dataset_url_or_urls(dataset_url_or_urls: Any) -> Any:
    """One URL or a list of them, without slashes at their ends. Raises OptionError (a ValueError) for an empty list."""
    if not isinstance(dataset_url_or_urls, list):
        return normalize_dir_url(dataset_url_or_urls)
    if not dataset_url_or_urls:
        raise OptionError("The list of a dataset's URLs is empty.")
    return [normalize_dir_url(url) for url in dataset_url_or_urls]

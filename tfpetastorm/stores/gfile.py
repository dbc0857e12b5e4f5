"""What `tf.io.gfile` can reach here: TensorFlow's own schemes, and those that tensorflow-io adds.

The one module left of `tfdata/` that imports TensorFlow: lazily, and only for a URL that neither pyarrow nor fsspec can
serve, or where `gfile_filesystem` asks for it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

#: What tensorflow-io 0.37.1, its last release, adds, and what serves these schemes without it.
_TENSORFLOW_IO = {
    "az": "fsspec serves az:// (`pip install adlfs`)",
    "har": "Nothing else reads Hadoop's archives: unpack it with `hadoop distcp`",
    "hdfs": "pyarrow.fs serves hdfs://, with Java and libhdfs",
    "http": "fsspec serves http:// (`pip install aiohttp`)",
    "https": "fsspec serves https:// (`pip install aiohttp`)",
    "oss": "fsspec serves oss:// (`pip install ossfs`)",
    "s3": "pyarrow.fs serves s3://, and so does fsspec (`pip install s3fs`)",
    "viewfs": "pyarrow.fs serves viewfs://, with Java and libhdfs",
}
_RELEASE = "0.37.1"
#: The one TensorFlow under which its library finds the symbols it asks for.
_TENSORFLOW = "2.16"


def knows(scheme: str) -> bool:
    """Whether `tf.io.gfile` serves a scheme here. Loads TensorFlow, and tensorflow-io for a scheme of its own."""
    if why_not(scheme):
        return False
    try:
        return scheme in schemes(scheme)
    except ImportError:
        return False


def why_not(scheme: str) -> str:
    """Why tensorflow-io does not serve a scheme of its own here, and what does instead. Loads nothing.

    Empty if it can, and for a scheme that is none of its own.
    """
    if scheme not in _TENSORFLOW_IO:
        return ""
    install = '`pip install "tfpetastorm[io]"`'
    instead = _TENSORFLOW_IO[scheme]
    try:
        version = importlib.metadata.version("tensorflow")
    except importlib.metadata.PackageNotFoundError:  # a build under another name
        version = "another"
    if not version.startswith(f"{_TENSORFLOW}."):
        return (
            f"tensorflow-io adds {scheme}:// to TensorFlow, but its last release, {_RELEASE}, loads only under "
            f"{_TENSORFLOW}, and this is {version}. {instead}; or use an environment of its own with {install}."
        )
    if importlib.util.find_spec("tensorflow_io") is None:
        return f"tensorflow-io adds {scheme}:// to TensorFlow: {install}. Without it: {instead}."
    return ""


def schemes(wanted: str = "") -> frozenset[str]:
    """What `tf.io.gfile` knows; if `wanted` is one of tensorflow-io's, once that is loaded."""
    registered = gfile().get_registered_schemes
    if wanted in _TENSORFLOW_IO and wanted not in registered():
        importlib.import_module("tensorflow_io")
    return frozenset(registered()) - {""}


def gfile(scheme: str = "") -> Any:
    """The module `tf.io.gfile`, with tensorflow-io loaded if the scheme is one of its own."""
    import tensorflow as tf

    if scheme:
        schemes(scheme)
    return tf.io.gfile

"""A scheme of tensorflow-io where that is not installed, or can't be: the error says what serves instead."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import tfpetastorm as tps
from tfpetastorm.errors import DatasetError, MissingPackageError

OLD = version("tensorflow").startswith("2.16.")
#: Under the one TensorFlow that it loads under, it is only missing.
WHY = r"tensorflow-io adds {scheme}:// to TensorFlow" + ("" if OLD else r".*0\.37\.1, loads only under 2\.16")
EXTRA = r'.*pip install "tfpetastorm\[io\]"'


@pytest.mark.parametrize(
    ("scheme", "instead"),
    [
        ("s3", r"pyarrow\.fs serves s3://.*s3fs"),
        ("az", "fsspec serves az://.*adlfs"),
        ("http", "fsspec serves http://.*aiohttp"),
        ("https", "fsspec serves https://.*aiohttp"),
        ("oss", "fsspec serves oss://.*ossfs"),
        ("hdfs", r"pyarrow\.fs serves hdfs://.*libhdfs"),
        ("viewfs", r"pyarrow\.fs serves viewfs://.*libhdfs"),
        ("har", "distcp"),
    ],
)
def test_the_error_says_what_serves_instead(scheme: str, instead: str) -> None:
    with pytest.raises(MissingPackageError, match=WHY.format(scheme=scheme)) as caught:
        tps.gfile_filesystem(scheme)
    caught.match(instead)
    caught.match(EXTRA)


@pytest.mark.parametrize(("scheme", "package"), [("az", "adlfs"), ("oss", "ossfs"), ("har", "distcp")])
def test_a_url_of_it_says_so_too(scheme: str, package: str) -> None:
    with pytest.raises(DatasetError, match=WHY.format(scheme=scheme)) as caught:
        tps.open_dataset(f"{scheme}://user:TOPSECRET@host/x")
    caught.match(package)
    caught.match(EXTRA)
    assert "TOPSECRET" not in str(caught.value)


def test_tensorflow_is_not_loaded_to_say_so() -> None:
    code = "import sys, tfpetastorm as tps\ntry: tps.gfile_filesystem('az')\nexcept ImportError: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pyarrow" in done.stdout.split()
    assert "tensorflow" not in done.stdout.split()

"""What is said where tensorflow-metadata is missing, or was made for another protobuf than the one installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CALL = """
import sys
sys.path[:0] = {folders!r}
from tfpetastorm.errors import MissingPackageError
from tfpetastorm.tfmd import schema_to_unischema, unischema_to_schema
from tfpetastorm.schema.unischema import Unischema
for call in (lambda: unischema_to_schema(Unischema("S", [])), lambda: schema_to_unischema(None)):
    try:
        call()
    except MissingPackageError as error:
        assert isinstance(error, ImportError)
        print(error)
"""


def said(*folders: Path, before: str = "") -> list[str]:
    """What each of the two functions says in a fresh interpreter that finds these folders first."""
    code = before + CALL.format(folders=[*map(str, folders), str(ROOT)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    return lines


def installed(folder: Path, package: str, version: str) -> None:
    """As pip notes it: a package of this version lies in the folder."""
    noted = folder / f"{package}-{version}.dist-info" / "METADATA"
    noted.parent.mkdir(parents=True)
    noted.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


def test_without_tensorflow_metadata_the_line_to_install_by_is_told() -> None:
    for line in said(before="import sys\nsys.modules['tensorflow_metadata'] = None\n"):
        assert "pip install 'tfpetastorm[tfmd]'" in line


@pytest.mark.parametrize("version", ["4.25.9", "5.29.6"])
def test_without_it_but_with_an_old_protobuf_the_release_that_fits_is_told_too(tmp_path: Path, version: str) -> None:
    installed(tmp_path, "protobuf", version)
    for line in said(tmp_path, before="import sys\nsys.modules['tensorflow_metadata'] = None\n"):
        assert f"With protobuf {version}, first pip install 'tensorflow-metadata==1.17.3'" in line


@pytest.mark.parametrize(
    ("version", "raised"),
    [
        # As tensorflow-metadata 1.21 fails on protobuf 4, which has no such module, and on 5, which has its own error.
        ("4.25.9", "from google.protobuf import no_runtime_version"),
        ("5.29.6", "class VersionError(Exception): pass\nraise VersionError('gencode 6.31.1 runtime 5.29.6')"),
    ],
)
def test_a_release_made_for_a_newer_protobuf_is_told_from_none(tmp_path: Path, version: str, raised: str) -> None:
    module = tmp_path / "tensorflow_metadata" / "proto" / "v0" / "schema_pb2.py"
    module.parent.mkdir(parents=True)
    for folder in module.parents[:3]:
        (folder / "__init__.py").touch()
    module.write_text(raised)
    installed(tmp_path, "tensorflow_metadata", "1.21.0")
    installed(tmp_path, "protobuf", version)
    for line in said(tmp_path):
        assert line.startswith("tensorflow-metadata 1.21.0 can't be imported (")
        assert f"found protobuf {version}" in line
        assert "pip install 'tensorflow-metadata==1.17.3'" in line

"""What is said where TFX is broken or does not fit the machine; tests/test_without_tfx.py tells where it is missing."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CALL = """
import sys
sys.path[:0] = {folders!r}
from tfpetastorm.errors import MissingPackageError
import tfpetastorm.tfx
try:
    tfpetastorm.tfx.UnischemaExampleGen
except MissingPackageError as error:
    assert isinstance(error, ImportError)
    print("said:", error)
"""


def said(*folders: Path, before: str = "") -> str:
    """What the use of a component says in a fresh interpreter that finds these folders first."""
    code = before + CALL.format(folders=[*map(str, folders), str(ROOT)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    # TFX prints to the same stream, without ending its line.
    return done.stdout.partition("said: ")[2]


def glibc() -> tuple[int, ...]:
    name, number = platform.libc_ver()
    return tuple(map(int, number.split(".")[:2])) if name == "glibc" else ()


def test_a_component_that_cannot_be_imported_says_why() -> None:
    """TFX itself would leave None in its place."""
    broken = "import sys\nsys.modules['tfx.components.example_gen.component'] = None\n"
    message = said(before=broken)
    assert "TFX can't be imported (import of tfx.components.example_gen.component halted" in message
    assert "expected TFX 1.21 with all that it needs, found tfx 1.21.0, ml-metadata 1.17.1" in message


@pytest.mark.slow
@pytest.mark.skipif(glibc() >= (2, 39), reason="the wheels fit this machine")
def test_a_wheel_that_does_not_fit_the_machine_is_told_from_a_missing_one(tmp_path: Path) -> None:
    """The real wheel of ml-metadata 1.21, installed as if this machine had the glibc that it is made for."""
    download = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path)]
    wanted = ["--platform", "manylinux_2_39_x86_64", "--only-binary=:all:", "ml-metadata==1.21.0"]
    subprocess.run([*download, *wanted], check=True, capture_output=True, timeout=240)
    message = said(tmp_path)
    assert re.match(
        r"a wheel that TFX needs does not fit this machine \(file .*/metadata_store_extension\.so\)", message
    )
    assert re.search(r"expected (GLIBC|GLIBCXX|CXXABI)_[\d.]+, found glibc [\d.]+, without it", message)
    assert "Debian 13, Ubuntu 24.04 or newer" in message
    assert "tfpetastorm[tft]" in message

"""What is said where tfx-bsl or Beam is missing, and that neither is loaded before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("missing", ["apache_beam", "tfx_bsl"])
def test_the_line_to_install_by_is_told(missing: str) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None
sys.path.insert(0, {str(ROOT)!r})
from tfpetastorm.errors import MissingPackageError
import tfpetastorm.tfxio
from tfpetastorm.tfxio.tensors import as_spec
try:
    tfpetastorm.tfxio.UnischemaTFXIO
except MissingPackageError as error:
    assert isinstance(error, ImportError)
    print("said:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    said = done.stdout.partition("said: ")[2]
    assert said.startswith("UnischemaTFXIO needs tfx-bsl and Apache Beam (")
    assert missing in said
    assert "pip install 'tfpetastorm[tft]'" in said

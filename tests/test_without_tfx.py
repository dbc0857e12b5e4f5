"""What is said where TFX is not installed, as in most environments of these tests."""

from __future__ import annotations

import importlib.util
import platform

import pytest

import tfpetastorm.tfx
from tfpetastorm.errors import MissingPackageError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("tfx") is not None, reason="TFX is installed")


@pytest.mark.parametrize("name", ["UnischemaExampleGen", "UnischemaSchemaGen", "UnischemaTransform", "TrainerExecutor"])
def test_the_line_to_install_by_is_told_and_which_machines_it_works_on(name: str) -> None:
    with pytest.raises(MissingPackageError, match="pip install 'tfpetastorm\\[tfx\\]'") as caught:
        getattr(tfpetastorm.tfx, name)
    message = str(caught.value)
    assert message.startswith("tfpetastorm.tfx needs TFX 1.21 (No module named 'tfx')")
    kind, number = platform.libc_ver()
    old = kind == "glibc" and tuple(map(int, number.split(".")[:2])) < (2, 39)
    if platform.system() == "Linux":
        fits = kind == "glibc" and platform.machine() == "x86_64" and not old
        assert ("That fails on this machine, Linux" in message) != fits
        assert ("Debian 13, Ubuntu 24.04 or newer" in message) != fits


def test_what_does_without_tfx_is_there() -> None:
    assert callable(tfpetastorm.tfx.apply_transform_graph)
    assert callable(tfpetastorm.tfx.export_with_transform)

"""tfx-bsl and Apache Beam: whether they are here, and what to install where they are not."""

from __future__ import annotations

import importlib

from tfpetastorm.errors import MissingPackageError


def require() -> None:
    """Raises MissingPackageError with the line to install by where tfx-bsl, or Apache Beam, can't be imported."""
    try:
        importlib.import_module("tfx_bsl.tfxio.tfxio")
    except ImportError as error:
        raise MissingPackageError(
            f"UnischemaTFXIO needs tfx-bsl and Apache Beam ({error}): pip install 'tfpetastorm[tft]'. tfx-bsl has "
            "wheels for Linux on x86-64 and for macOS on arm64."
        ) from error

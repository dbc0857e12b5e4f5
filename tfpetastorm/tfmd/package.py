"""tensorflow-metadata, imported when first needed; what to install where that fails."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tfpetastorm.errors import MissingPackageError, describe


def schema_module() -> Any:
    """The module `tensorflow_metadata.proto.v0.schema_pb2`.

    Raises MissingPackageError with the line to install by: where tensorflow-metadata is missing, and where it does not
    fit protobuf. 1.21 and newer declare protobuf 4.25 but are made for 6.31, so that pip sees nothing wrong.
    """
    try:
        return importlib.import_module("tensorflow_metadata.proto.v0.schema_pb2")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "tensorflow_metadata":
            raise MissingPackageError(
                f"TFX's schemas need tensorflow-metadata ({error}): pip install 'tfpetastorm[tfmd]'."
            ) from None
        raise _unfit(error) from error
    except Exception as error:  # protobuf's VersionError is of no class that every protobuf has
        raise _unfit(error) from error


def _unfit(error: Exception) -> MissingPackageError:
    protobuf = _version("protobuf")
    old = protobuf.partition(".")[0] in ("3", "4", "5")
    return MissingPackageError(
        describe(
            f"tensorflow-metadata {_version('tensorflow-metadata')} can't be imported ({error})",
            expected="a release made for the protobuf that is installed",
            found=f"protobuf {protobuf}",
            remedy="With protobuf before 6, pip install 'tensorflow-metadata==1.17.3': newer ones are made for 6, "
            "though they do not declare it."
            if old
            else "pip install --upgrade 'tfpetastorm[tfmd]'.",
        )
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"

"""tensorflow-metadata, imported when first needed; what to install where that fails."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tfpetastorm.errors import MissingPackageError, describe

#: The last that can be imported beside protobuf 4 and 5, and the line that brings it.
_FOR_OLD_PROTOBUF = "pip install 'tensorflow-metadata==1.17.3'"


def schema_module() -> Any:
    """The module `tensorflow_metadata.proto.v0.schema_pb2`.

    Raises MissingPackageError with the line to install by: where tensorflow-metadata is missing, and where it does not
    fit protobuf. 1.21 and newer declare protobuf 4.25 but are made for 6.31, so that pip sees nothing wrong.
    """
    try:
        return importlib.import_module("tensorflow_metadata.proto.v0.schema_pb2")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "tensorflow_metadata":
            raise _unfit(error) from error
        old = f" With protobuf {_version('protobuf')}, first {_FOR_OLD_PROTOBUF}." if _protobuf_is_old() else ""
        raise MissingPackageError(
            f"TFX's schemas need tensorflow-metadata ({error}): pip install 'tfpetastorm[tfmd]'.{old}"
        ) from None
    except Exception as error:  # protobuf's VersionError is of no class that every protobuf has
        raise _unfit(error) from error


def _unfit(error: Exception) -> MissingPackageError:
    return MissingPackageError(
        describe(
            f"tensorflow-metadata {_version('tensorflow-metadata')} can't be imported ({error})",
            expected="a release made for the protobuf that is installed",
            found=f"protobuf {_version('protobuf')}",
            remedy=f"With protobuf before 6, {_FOR_OLD_PROTOBUF}: newer ones are made for 6, though they do not "
            "declare it."
            if _protobuf_is_old()
            else "pip install --upgrade 'tfpetastorm[tfmd]'.",
        )
    )


def _protobuf_is_old() -> bool:
    return _version("protobuf").partition(".")[0] in ("3", "4", "5")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"

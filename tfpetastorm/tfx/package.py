"""TFX, imported when a name that needs it is first used; what to do where that fails."""

from __future__ import annotations

import importlib
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tfpetastorm.errors import MissingPackageError, Place, describe

#: The C library that the wheels of TFX 1.21's ml-metadata and tensorflow-data-validation are made for, as tagged.
_WHEELS_GLIBC = (2, 39)
#: How the dynamic loader names a symbol version that a library of the machine lacks, and who needs it.
_MISFIT = re.compile(
    r"version [`'](?P<lacks>(?:GLIBC|GLIBCXX|CXXABI)_[\d.]+)' not found \(required by (?P<file>[^)]+)\)"
)
_INSTALL = "pip install 'tfpetastorm[tfx]'"
_MACHINES = (
    "The Linux wheels of ml-metadata 1.21 and tensorflow-data-validation 1.21, which TFX 1.21 needs, are made for "
    f"x86-64 with glibc {_WHEELS_GLIBC[0]}.{_WHEELS_GLIBC[1]}. What does: a machine or container with it (Debian 13, "
    "Ubuntu 24.04 or newer), or macOS on arm64. Without components, tfpetastorm[tft] (UnischemaTFXIO and TensorFlow "
    "Transform) and tfpetastorm[tfmd] (schemas) work here too."
)
#: TFX leaves None where a component can't be imported, and does not say why: what we build upon, and its home.
_COMPONENTS = {
    "FileBasedExampleGen": "example_gen.component", "StatisticsGen": "statistics_gen.component",
    "Transform": "transform.component", "Trainer": "trainer.component", "Tuner": "tuner.component",
    "Evaluator": "evaluator.component",
}  # fmt: skip


def load(home: str, name: str) -> Any:
    """The attribute `name` of the module `home`, which imports TFX at its top.

    Raises MissingPackageError, an ImportError, that tells what to install; where a wheel does not fit the machine, the
    library that it needs, the one that is here, and which machines fit.
    """
    try:
        _check()
        module = importlib.import_module(home)
    except ImportError as error:
        if isinstance(error, MissingPackageError) or (error.name or "").partition(".")[0] == "tfpetastorm":
            raise
        raise _explained(error) from error
    return getattr(module, name)


def _check() -> None:
    """Import TFX and the components that ours stand on. Raises ImportError."""
    components = importlib.import_module("tfx.components")
    for name, home in _COMPONENTS.items():
        if getattr(components, name, None) is None:
            importlib.import_module(f"tfx.components.{home}")
            # It can be imported now, so something that it needs came up since.
            raise ImportError(f"tfx.components.{name} is None")


def _explained(error: ImportError) -> MissingPackageError:
    misfit = _MISFIT.search(str(error))
    if misfit is not None:
        return MissingPackageError(
            describe(
                "a wheel that TFX needs does not fit this machine",
                Place(file=misfit["file"]),
                expected=misfit["lacks"],
                found=f"{_libc() or 'a C library other than glibc'}, without it",
                remedy=_MACHINES,
            )
        )
    if isinstance(error, ModuleNotFoundError) and error.name == "tfx":
        fits = "" if _machine_fits() else f" That fails on this machine, {_machine()}. {_MACHINES}"
        return MissingPackageError(f"tfpetastorm.tfx needs TFX 1.21 ({error}): {_INSTALL}.{fits}")
    return MissingPackageError(
        describe(
            f"TFX can't be imported ({error})",
            expected="TFX 1.21 with all that it needs",
            found=", ".join(
                f"{package} {_version(package) or 'missing'}"
                for package in ("tfx", "ml-metadata", "tensorflow-data-validation")
            ),
            remedy=f"{_INSTALL} into an environment of its own: TFX holds TensorFlow, pyarrow and protobuf to certain "
            "versions, and pip check says which do not fit.",
        )
    )


def _machine_fits() -> bool:
    """Whether TFX's wheels are made for this machine."""
    if sys.platform != "linux":
        return sys.platform == "darwin" and platform.machine() == "arm64"
    name, number = platform.libc_ver()
    parts = re.findall(r"\d+", number)
    return platform.machine() == "x86_64" and name == "glibc" and tuple(map(int, parts[:2])) >= _WHEELS_GLIBC


def _machine() -> str:
    return " ".join(filter(None, (platform.system(), platform.machine(), "with" if _libc() else "", _libc())))


def _libc() -> str:
    return " ".join(platform.libc_ver()).strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

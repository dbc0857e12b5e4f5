"""The table in docs/migration.md: it has every public name of petastorm, and what it says of each is so."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import io
import os
import re
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tfpetastorm as tps
from tests.migration import published
from tests.migration.names import Name, public_names
from tfpetastorm.errors import HdfsReplacedError, ReplacedError

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "migration.md"
VERDICTS = {"same", "better", "replaced", "dropped"}
#: Modules of ours that need what only the environment of other frameworks has.
NEED = {"pytorch": "torch", "benchmark.dummy_reader": "torch", "reader_impl.pytorch_shuffling_buffer": "torch"}


@dataclass(frozen=True)
class Row:
    """A row of a table. section: the heading above. names: in backticks, in the first cell. whole: those of them that
    are followed by "and its methods". verdict, text: the other cells."""

    section: str
    names: tuple[str, ...]
    whole: tuple[str, ...]
    verdict: str
    text: str


def rows() -> list[Row]:
    found, section = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"#+ (.*)", line):
            section = heading.group(1)
        elif line.startswith("| ") and "---" not in line:
            first, verdict, text = (cell.strip() for cell in line.strip("|").split("|"))
            names = tuple(re.findall(r"`([^`]+)`", first))
            if names and verdict != "here":
                whole = tuple(re.findall(r"`([^`]+)` and its methods", first))
                found.append(Row(section, names, whole, verdict, text))
    return found


def module_of(section: str) -> str | None:
    """The module of petastorm that a section is about; "" for the package; None for other sections."""
    return section.removeprefix("petastorm").lstrip(".") if re.fullmatch(r"petastorm(\.\w+)*", section) else None


@pytest.fixture(scope="module")
def package() -> Path:
    """The folder of an installed petastorm's source."""
    found = published.tests_of_petastorm()
    if found is None:
        told = "no petastorm; `make petastorm-env` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    return found.parent


@pytest.fixture(scope="module")
def names(package: Path) -> list[Name]:
    found = public_names(package)
    assert len(found) > 300
    return found


def row_of(name: Name) -> list[Row]:
    """The rows that tell of a name."""
    owner = name.name.partition(".")[0]
    return [
        row
        for row in rows()
        if module_of(row.section) == name.module
        and (name.name in row.names or ("." in name.name and owner in row.whole and not _told_alone(name)))
    ]


def _told_alone(name: Name) -> bool:
    return any(module_of(row.section) == name.module and name.name in row.names for row in rows())


def test_the_walk_sees_what_it_should(names: list[Name]) -> None:
    by_text = {str(name): name for name in names}
    assert by_text["reader:make_reader"].parameters is not None
    assert "hdfs_driver" in by_text["reader:make_reader"].parameters
    assert by_text[":make_reader"].kind == "import"
    assert by_text["transform:TransformSpec"].parameters == ("func", "edit_fields", "removed_fields", "selected_fields")
    assert by_text["ngram:NGram.get_schema_at_timestep"].parameters == ("schema", "timestep")
    assert by_text["etl.dataset_metadata:UNISCHEMA_KEY"].kind == "constant"
    assert by_text["spark:make_spark_converter"].kind == "import"


def test_every_name_is_told_of_once(names: list[Name]) -> None:
    headings = {module_of(line.lstrip("# ")) for line in PAGE.read_text().splitlines() if line.startswith("### ")}
    assert not {name.module for name in names} - headings
    wrong = {str(name): len(row_of(name)) for name in names if name.name and len(row_of(name)) != 1}
    assert not wrong


def test_the_table_invents_no_name(names: list[Name]) -> None:
    known = {(name.module, name.name) for name in names}
    about = [row for row in rows() if module_of(row.section) is not None]
    assert not {(module_of(row.section), name) for row in about for name in row.names} - known
    assert {row.verdict for row in rows()} <= VERDICTS
    for row in rows():
        assert row.verdict == "same" or row.text, f"{row.names} say no more than {row.verdict}"


# ---------------------------------------------------------------- same and better


def ours(name: Name) -> Any:
    """What has the name here. Raises AttributeError or ImportError if nothing has."""
    found = importlib.import_module(".".join(filter(None, ["tfpetastorm", name.module])))
    for part in filter(None, name.name.split(".")):
        if isinstance(found, type) and not hasattr(found, part) and part in _attributes(found):
            return None  # set by the constructor
        found = getattr(found, part)
    return found


def _attributes(owner: type) -> set[str]:
    """What instances of a class have besides what the class has."""
    known = {field.name for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
    samples: dict[str, Callable[[], Any]] = {
        "NGram": lambda: owner({0: ["id"]}, 1, "id"),
        "Unischema": lambda: owner("S", [tps.UnischemaField("id", int)]),
    }
    made = next((sample() for kind, sample in samples.items() if owner.__name__.endswith(kind)), None)
    return known | (set(dir(made)) if made is not None else set())


def test_what_is_same_or_better_is_here_with_the_same_parameters(names: list[Name]) -> None:
    wrong = []
    for name in names:
        if not name.name or (NEED.get(name.module) and not _has(NEED[name.module])):
            continue
        [row] = row_of(name)
        if row.verdict not in ("same", "better"):
            continue
        try:
            found = ours(name)
        except (AttributeError, ImportError) as error:
            wrong.append(f"{name}: {error}")
            continue
        if name.parameters is None or name.kind == "property" or not callable(found):
            continue
        with suppress(ValueError):  # made in C: an exception's constructor
            wrong += [f"{name}: {told}" for told in _differences(name.parameters, found, row.text)]
    assert not wrong


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _differences(expected: tuple[str, ...], found: Any, text: str) -> Iterator[str]:
    """Parameters that are missing or in another order, unless the row says what became of them."""
    given = [name for name in inspect.signature(found).parameters if name != "self"]
    missing = [name for name in expected if name not in given and f"`{name}`" not in text]
    if missing:
        yield f"{missing} are not among {given}"
    kept = [name for name in expected if name in given]
    if [name for name in given if name in kept] != kept:
        yield f"the order of {given} is not that of {kept}"


# ---------------------------------------------------------------- replaced


def test_what_is_replaced_says_what_to_call(names: list[Name]) -> None:
    wrong = []
    for name in names:
        if not name.name:
            continue
        [row] = row_of(name)
        if row.verdict == "replaced":
            told = _refusal(name)
            calls = [call for call in re.findall(r"`([\w.]+)\(", row.text) if call != name.name]
            if told is None:
                wrong.append(f"{name} raises no ReplacedError")
            elif not any(call.rpartition(".")[2] in told for call in calls):
                wrong.append(f"{name} shows none of {calls}: {told}")
    assert not wrong


def _refusal(name: Name) -> str | None:
    """What using a name says; None if it works."""
    try:
        owner, _, method = name.name.partition(".")
        found = ours(Name(name.module, owner, "class"))
        made = _called(found)
        if method:
            _called(getattr(made, method))
    except (ReplacedError, HdfsReplacedError) as error:
        return str(error)
    except AttributeError:
        # The methods of a namespace: petastorm had them on the class.
        with suppress(AttributeError):
            _called(getattr(ours(Name(name.module, owner, "class")), method))
    return None


def _called(found: Any) -> Any:
    parameters = inspect.signature(found).parameters.values()
    needed = [one for one in parameters if one.default is one.empty and one.kind == one.POSITIONAL_OR_KEYWORD]
    return found(*("x" for _ in needed))


# ---------------------------------------------------------------- arguments, command lines, keys


def section(title: str) -> dict[str, Row]:
    return {name: row for row in rows() if row.section == title for name in row.names}


def test_every_argument_of_the_readers_is_told_of(names: list[Name], golden: Path) -> None:
    table = section("Arguments of make_reader and make_batch_reader")
    theirs = {
        parameter
        for name in names
        if name.module == "reader" and name.name in ("make_reader", "make_batch_reader")
        for parameter in name.parameters or ()
    }
    assert set(table) == theirs
    dropped = {name for name, row in table.items() if row.verdict == "dropped"}
    for argument in dropped:
        with pytest.warns(DeprecationWarning, match=argument):
            tps.make_reader(golden / "petastorm-0.13.1/types", **{argument: True}).stop()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tps.make_reader(golden / "petastorm-0.13.1/types", workers_count=1, results_queue_size=3, seed=0).stop()


def options_of(source: Path) -> set[str]:
    """The options that a program of petastorm's declares."""
    calls = [node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Call)]
    return {
        argument.value
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"
        for argument in call.args
        if isinstance(argument, ast.Constant) and str(argument.value).startswith("-")
    }


PROGRAMS = {
    "tools/copy_dataset.py": "copy",
    "tools/spark_session_cli.py": None,
    "etl/petastorm_generate_metadata.py": "generate-metadata",
    "etl/metadata_util.py": None,
    "benchmark/cli.py": "throughput",
}


def test_every_option_of_the_command_lines_is_told_of_and_taken(package: Path) -> None:
    table = section("Command lines")
    assert {name for name in table if name.startswith("-")} == {
        option for source in PROGRAMS for option in options_of(package / source)
    }
    for source in PROGRAMS:
        module = importlib.import_module("tfpetastorm." + source.removesuffix(".py").replace("/", "."))
        taken = _help(module)
        missing = {option for option in options_of(package / source) if not re.search(rf"{option}\b", taken)}
        assert not missing, source


def test_our_commands_take_the_options_that_the_table_says(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tfpetastorm.cli.main import _parser

    [commands] = [action.choices for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    for source, command in PROGRAMS.items():
        if command is None:
            continue
        taken = {option for action in commands[command]._actions for option in action.option_strings}
        for option in options_of(package / source):
            row = section("Command lines")[option]
            if f"of `tfpetastorm {command}` too" in row.text and option != "--dataset_url":
                assert option in taken, (command, option)


def _help(module: Any) -> str:
    if hasattr(module, "add_configure_spark_arguments"):
        parser = argparse.ArgumentParser()
        module.add_configure_spark_arguments(parser)
        return parser.format_help()
    out = io.StringIO()
    with redirect_stdout(out), suppress(SystemExit):
        module._main(["--help"])
    return out.getvalue()


def test_every_program_is_told_of(package: Path) -> None:
    scripts = {path.name for path in (package.parents[3] / "bin").glob("petastorm-*.py")}
    assert scripts
    assert scripts <= set(section("Command lines"))


def test_every_metadata_key_is_told_of(package: Path) -> None:
    keys = {
        key
        for path in package.rglob("*.py")
        if "tests" not in path.parts
        for key in re.findall(r"b'(dataset-toolkit[^']+)'", path.read_text())
    }
    assert keys
    assert set(section("Metadata keys")) == keys
    stored = " ".join(path.read_text() for path in (ROOT / "tfpetastorm").rglob("*.py"))
    for row in section("Metadata keys").values():
        for key in [*row.names, *re.findall(r"`(tfpetastorm\.[\w.]+)`", row.text)]:
            assert f'b"{key}"' in stored


@pytest.mark.slow
def test_names_that_need_pytorch(package: Path) -> None:
    """The same in the environment that has it."""
    if _has("torch"):
        pytest.skip("it was checked with the rest")
    python = published.python_of_frameworks()
    if python is None:
        pytest.skip("`make frameworks-env` makes the environment that has PyTorch")
    chosen = "test_what_is_same_or_better_is_here_with_the_same_parameters"
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", f"{__file__}::{chosen}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]

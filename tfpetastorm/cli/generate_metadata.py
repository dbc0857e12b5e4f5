"""`tfpetastorm generate-metadata URL`: writes, checks and mends a dataset's metadata."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tfpetastorm.cli.shared import bar, page, say
from tfpetastorm.cli.text import printable
from tfpetastorm.errors import OptionError
from tfpetastorm.redaction import redact
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.upkeep.checking import ASPECTS, ROWS, Report, check_dataset, repair_metadata
from tfpetastorm.upkeep.metadata import generate_metadata

_ORIGINS = {
    "given": "the schema given",
    "stored": "the schema that was stored",
    "petastorm": "petastorm's schema, read without unpickling",
    "inferred": "the schema that the columns amount to",
}
#: petastorm's options that only Spark or its HDFS drivers need.
_WITHOUT_EFFECT = ("hdfs_driver", "master", "spark_driver_memory")


def add_generate_metadata(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the command's parser. petastorm's own names of options work too."""
    parser = commands.add_parser(
        "generate-metadata",
        parents=[common],
        help="adds a schema and a list of files; checks and mends them",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="hold the dataset against its metadata; 1 if it differs")
    what.add_argument("--repair", action="store_true", help="mend what needs no guess, then check")
    parser.add_argument(
        "--unischema", "--unischema_class", "--unischema-class", metavar="module.NAME",
        help="a Unischema of yours, which is imported; else the stored one, or the one that the columns amount to",
    )  # fmt: skip
    parser.add_argument("--adopt-unlisted", action="store_true", help="also list files that the list leaves out")
    parser.add_argument("--no-petastorm", action="store_true", help="without the keys that petastorm reads")
    parser.add_argument("--use-summary-metadata", action="store_true", help="also write _metadata with all row groups")
    parser.add_argument("--rows", type=_rows, default=ROWS, metavar="ROWS", help=f"rows to decode in a check ({ROWS})")
    parser.add_argument("--json", action="store_true", help="the check as one JSON object, for programs")
    for name in _WITHOUT_EFFECT:
        parser.add_argument("--" + name.replace("_", "-"), help=argparse.SUPPRESS)
    parser.set_defaults(run=_run)


def _rows(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a number of rows, not {text!r}")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    for name in _WITHOUT_EFFECT:
        if getattr(options, name) is not None:
            say("warning", f"--{name.replace('_', '-')} has no effect: neither Spark nor a driver is needed.")
    if options.check or options.repair:
        return _check(options)
    schema = named_schema(options.unischema) if options.unischema else None
    with bar("Reading footers") as progress:
        made = generate_metadata(
            options.url,
            schema,
            adopt=options.adopt_unlisted,
            petastorm_compatible=not options.no_petastorm,
            summary=options.use_summary_metadata,
            unmapped="omit" if options.drop_unmapped else "error",
            progress=progress,
        )
    can = "petastorm can read it" if made.petastorm else "petastorm can't read it"
    files = "1 file" if made.files == 1 else f"{made.files:,} files"
    print(
        f"{printable(redact(options.url))}: {len(made.schema)} fields, {files}, {made.row_groups:,} row groups, "
        f"{made.rows:,} rows; {_ORIGINS[made.origin]}; {can}"
    )
    return 0


def _check(options: argparse.Namespace) -> int:
    if options.unischema or options.no_petastorm or options.use_summary_metadata:
        raise OptionError("--check and --repair take a dataset as it is. Write its metadata without them.")
    mended = repair_metadata(options.url, adopt=options.adopt_unlisted) if options.repair else []
    with bar("Checking") as progress:
        report = check_dataset(options.url, rows=options.rows, progress=progress)
    if options.json:
        print(json.dumps({**report.to_json(), "mended": mended}, indent=2, ensure_ascii=False))
    else:
        with page() as console:
            _show(report, mended, console, mending=options.repair)
    return 1 if report.findings else 0


def _show(report: Report, mended: list[str], console: Console, *, mending: bool) -> None:
    console.print(Text(printable(report.url), style="bold"))
    for text in mended:
        console.print(Text("mended ", style="green") + Text(printable(text)))
    for aspect, says in ASPECTS.items():
        findings = [finding for finding in report.findings if finding.aspect == aspect]
        seen = report.seen.get(aspect)
        mark = Text("✗ ", style="red") if findings else Text("✓ ", style="green") if seen else Text("– ", style="dim")
        beside = seen if seen is not None else report.skipped.get(aspect, "")
        console.print(mark + Text(says) + Text(f" ({printable(beside)})" if beside else "", style="dim"))
        for finding in findings:
            console.print(Text(f"    {printable(finding.what)}"))
            advice = finding.remedy
            if finding.mend and not mending:
                advice = "--repair mends it."
            if advice:
                console.print(Text(f"      {printable(advice)}", style="yellow"))
    count = len(report.findings)
    console.print(f"{count} {'problem' if count == 1 else 'problems'}" if count else "No problems.")


def named_schema(name: str) -> Unischema:
    """The Unischema that a user names as `package.module.NAME`; also from the working folder.

    Raises `OptionError` if there is none.
    """
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        found = _located(name)
    finally:
        if added:
            sys.path.remove(here)
    if not isinstance(found, Unischema):
        what = "is petastorm's own; import it from tfpetastorm" if type(found).__name__ == "Unischema" else "is none"
        raise OptionError(f"{name} should be a Unischema, and {what}.")
    return found


def _located(name: str) -> Any:
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:count])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and (module + ".").startswith(error.name + "."):
                continue
            raise OptionError(f"can't import {module}: {error}") from error
        for part in parts[count:]:
            if not hasattr(found, part):
                raise OptionError(f"{module} has no {'.'.join(parts[count:])}.")
            found = getattr(found, part)
        return found
    raise OptionError(f"there is no module of {name!r}. Write package.module.NAME.")

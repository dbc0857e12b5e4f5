"""What all commands share: values of options, opening, output, progress bars, messages."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress

from tfpetastorm.cli.text import printable
from tfpetastorm.errors import OptionError
from tfpetastorm.redaction import redact_text
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.opening import open_dataset

#: Columns where nobody watches: wide enough that few lines break, so that what is piped can be searched.
_PIPED_WIDTH = 160
#: Fewer steps than this are over before a bar can be seen.
_PROGRESS_STEPS = 32


def count(text: str) -> int:
    """A positive whole number, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"a positive number, not {text!r}")
    return number


def parts(texts: Sequence[str]) -> list[str]:
    """The items of options that may be repeated and hold several, separated by commas."""
    return [part.strip() for text in texts for part in text.split(",")]


def size(text: str, option: str) -> int:
    """A whole number, also as 400_000, 64k or 16M (of 1024)."""
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    number, unit = (text[:-1], units[text[-1].lower()]) if text[-1:].lower() in units else (text, 1)
    if not number.replace("_", "").isdecimal():
        raise OptionError(f"{option} takes whole numbers, such as 100_000 or 16M, not {text!r}.")
    return int(number) * unit


def open_stored(options: argparse.Namespace) -> StoredDataset:
    """The dataset that the options name, with a bar while its footers are read."""
    with bar("Reading footers") as progress:
        return open_dataset(options.url, unmapped="omit" if options.drop_unmapped else "error", progress=progress)


@contextmanager
def page() -> Iterator[Console]:
    """A console whose output goes to stdout at the end, in one piece."""
    piped = not sys.stdout.isatty()
    width = _PIPED_WIDTH if piped and "COLUMNS" not in os.environ else None
    console = Console(width=width, highlight=False, emoji=False, markup=False)
    with console.capture() as captured:
        yield console
    text = captured.get()
    if piped:
        text = "".join(line.rstrip() + "\n" for line in text.splitlines())
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What an old terminal can't show should not keep it from showing the rest.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout.write(text)


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr, where someone watches and the work is long."""
    if not sys.stderr.isatty():
        yield None
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task: Any = progress.add_task(what, total=None, visible=False)

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=total >= _PROGRESS_STEPS)

        yield update


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning as one line on stderr; for `warnings.showwarning`."""
    say("warning", str(message))


def say(what: str, message: str) -> None:
    """One line on stderr. what: "error" or "warning"."""
    print(f"tfpetastorm: {what}: {printable(redact_text(' '.join(message.split())))}", file=sys.stderr)

"""Arguments, errors and progress bars of the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

import tfpetastorm
from tfpetastorm.cli.condition import conditions
from tfpetastorm.cli.copy import add_copy
from tfpetastorm.cli.facts import dataset_facts
from tfpetastorm.cli.generate_metadata import add_generate_metadata
from tfpetastorm.cli.head import caption_fields, image_field, show_rows, write_sheet
from tfpetastorm.cli.info import show_info
from tfpetastorm.cli.quality_picture import draw_comparison, show_comparison
from tfpetastorm.cli.rows import first_rows
from tfpetastorm.cli.shared import bar, count, open_stored, page, parts, say, show_warning, size
from tfpetastorm.cli.shuffle_quality import compare
from tfpetastorm.cli.text import printable
from tfpetastorm.cli.throughput import add_throughput
from tfpetastorm.errors import TfpetastormError
from tfpetastorm.plan.order import Shuffle

_ROWS, _IMAGES = 5, 24


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status: 0, 1 where a check found something, 130 after Ctrl-C, or 2
    after an error told on stderr in one line."""
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = show_warning
            status: int | None = options.run(options)
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads our output has seen enough; keep the interpreter from complaining at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except (TfpetastormError, OSError, pa.ArrowException) as error:
        if options.traceback:
            raise
        say("error", str(error) or type(error).__name__)
        return 2
    return status or 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("url", help="a path, URL, glob or file; quote a glob")
    common.add_argument(
        "--drop-unmapped", action="store_true", help="leave out columns of plain Parquet that no field can hold"
    )
    common.add_argument("--traceback", action="store_true", help="show where in the code an error was raised")

    parser = argparse.ArgumentParser(
        prog="tfpetastorm", description="Looks after Parquet datasets of tensors and images."
    )
    parser.add_argument("--version", action="version", version=f"tfpetastorm {tfpetastorm.__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)

    info = commands.add_parser("info", parents=[common], help="schema, rows, row groups, sizes; reads footers only")
    info.add_argument("--json", action="store_true", help="one JSON object, for programs")
    info.set_defaults(run=_info)

    head = commands.add_parser("head", parents=[common], help="the first rows, decoded")
    head.add_argument("-n", type=count, metavar="ROWS", help=f"how many rows ({_ROWS}, or {_IMAGES} with --images)")
    head.add_argument("--fields", action="append", metavar="NAME,…", help="names or regular expressions of fields")
    head.add_argument(
        "--where", action="append", default=[], metavar="CONDITION",
        help="such as 'speed > 2', 'label in [1, 2]' or 'label != null'; several must all hold",
    )  # fmt: skip
    head.add_argument("--images", type=Path, metavar="OUT.png", help="draw a contact sheet of the rows' images")
    head.add_argument("--image-field", metavar="NAME", help="the field to draw, if it is not the first of images")
    head.set_defaults(run=_head)

    quality = commands.add_parser(
        "shuffle-quality", parents=[common], help="how good a shuffle is, block by block; reads footers only"
    )
    quality.add_argument(
        "--block-rows", action="append", default=[], metavar="ROWS,…", help="blocks to compare, in rows; 0 mixes none"
    )
    quality.add_argument(
        "--block-bytes", action="append", default=[], metavar="BYTES,…", help="blocks to compare, such as 16M, 64M"
    )
    quality.add_argument("--fields", action="append", metavar="NAME,…", help="the fields that will be read")
    quality.add_argument("--batch-size", type=count, default=1024, metavar="ROWS", help="rows of a batch (1024)")
    quality.add_argument("--epochs", type=count, default=3, metavar="N", help="epochs to look at (3)")
    quality.add_argument("--seed", type=int, help="the seed of the orders; drawn unless given")
    quality.add_argument("--out", type=Path, metavar="OUT.png", help="draw a picture")
    quality.add_argument("--json", action="store_true", help="one JSON object, for programs")
    quality.set_defaults(run=_shuffle_quality)

    add_copy(commands, common)
    add_generate_metadata(commands, common)
    add_throughput(commands, common)
    return parser


def _info(options: argparse.Namespace) -> None:
    with bar("Looking at footers") as progress:
        facts = dataset_facts(open_stored(options), progress)
    if options.json:
        print(json.dumps(facts.to_json(), indent=2, ensure_ascii=False))
    else:
        with page() as console:
            show_info(facts, console)


def _head(options: argparse.Namespace) -> None:
    stored = open_stored(options)
    chosen = parts(options.fields) if options.fields else None
    where = conditions(options.where, stored.schema)
    fields = [stored.schema.fields[name] for name in stored.schema.select(chosen)] if chosen else list(stored.schema)
    if options.images is None:
        with bar("Looking for rows") as progress:
            rows = first_rows(stored, [field.name for field in fields], where, options.n or _ROWS, progress)
        with page() as console:
            show_rows(rows, fields, console)
        return
    # Captions may be all that was chosen; images are then looked for among the other fields.
    try:
        image = image_field(fields, options.image_field)
    except TfpetastormError:
        image = image_field(list(stored.schema), options.image_field)
    captions = caption_fields(fields, chosen is not None)
    names = list(dict.fromkeys([image.name, *(field.name for field in captions)]))
    with bar("Looking for rows") as progress:
        rows = first_rows(stored, names, where, options.n or _IMAGES, progress)
    write_sheet(rows, image, captions, options.images)
    print(f"{options.images}: {len(rows)} images of {printable(image.name)}")


def _shuffle_quality(options: argparse.Namespace) -> None:
    shuffles = [
        Shuffle(block_rows=rows) if rows else Shuffle(rows=False)
        for rows in (size(text, "--block-rows") for text in parts(options.block_rows))
    ]
    shuffles += [
        Shuffle(block_bytes=size) for size in (size(text, "--block-bytes") for text in parts(options.block_bytes))
    ]
    stored = open_stored(options)
    with bar("Working out orders") as progress:
        found = compare(
            stored,
            shuffles,
            fields=parts(options.fields) if options.fields else None,
            batch=options.batch_size,
            seed=options.seed,
            epochs=options.epochs,
            progress=progress,
        )
    if options.out is not None:
        draw_comparison(found, stored.url, options.out)
    if options.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        with page() as console:
            show_comparison(found, stored.url, console)

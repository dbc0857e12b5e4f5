"""Shuffles as tables and pictures: where each stored row comes in an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfpetastorm.cli.shuffle_quality import Comparison, Trial
from tfpetastorm.cli.text import printable, size_text
from tfpetastorm.errors import OptionError
from tfpetastorm.schema.columns import Array

#: From how many times an even spread on a shade is drawn.
_SHADES = ((0.02, "░"), (0.6, "▒"), (1.7, "▓"), (4.0, "█"))
_PAPER, _INK, _FAINT, _BLUE = "#fafaf8", "#28282c", "#787880", "#1f5fa8"


def show_comparison(found: Comparison, url: str, console: Console) -> None:
    """Prints the pictures and the table."""
    console.print(Text(printable(url), style="bold"))
    console.print(
        f"{found.rows:,} rows in {found.row_groups:,} row groups; batches of {found.batch:,}; "
        f"mean of {found.epochs} epochs, seed {found.seed}"
    )
    if found.measured < found.rows:
        console.print(f"Measured on a sample of {found.measured:,} rows of each epoch, in whole batches.")
    console.print()
    for line in _pictures(found.trials, console.width):
        console.print(line)
    console.print(_table(found))
    if any(trial.memory > found.budget for trial in found.trials):
        console.print(
            Text(f"* more than the default budget of {size_text(found.budget)}: set PoolOptions(budget_bytes=…)")
        )


def _table(found: Comparison) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("block", no_wrap=True)
    for name in ("memory", "rank correlation", "neighbours in one batch", "× perfect", "row groups a batch"):
        table.add_column(name, justify="right")
    ideal = found.ideal
    for trial in found.trials:
        over = trial.memory > found.budget
        table.add_row(
            Text(trial.name),
            Text(size_text(trial.memory) + ("*" if over else "") if trial.block_rows else "–"),
            f"{trial.quality.correlation:.3f}",
            percent(trial.quality.together),
            times_perfect(trial, found),
            f"{trial.quality.row_groups:,.1f}",
        )
    table.add_section()
    table.add_row(
        "a perfect shuffle",
        "",
        f"{ideal.correlation:.3f}",
        percent(ideal.together),
        "1.0",
        f"{ideal.row_groups:,.1f}",
        style="dim",
    )
    return table


def percent(share: float) -> str:
    """A share as a percentage with about three digits: `98.9 %`, `0.0123 %`."""
    value = 100 * share
    return f"{value:.3g} %" if 0 < value < 100 else f"{value:.0f} %"


def times_perfect(trial: Trial, found: Comparison) -> str:
    """How many times more often than in a perfect shuffle stored neighbours come in one batch."""
    if not found.ideal.together:
        return "–"
    ratio = trial.quality.together / found.ideal.together
    return f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"


def _pictures(trials: Sequence[Trial], width: int) -> list[Text]:
    """Coarse pictures side by side: position read goes right, position stored goes up."""
    cells = [_cells(trial.coarse) for trial in trials]
    wide = max(len(cells[0][0]), *(len(trial.name) for trial in trials)) + 2
    a_line = max(1, (width - 2) // wide)
    lines: list[Text] = []
    for start in range(0, len(trials), a_line):
        part = slice(start, start + a_line)
        lines.append(Text("  " + "".join(trial.name.ljust(wide) for trial in trials[part]).rstrip(), style="bold"))
        for k in range(len(cells[0])):
            mark = "↑ " if k == 0 else "  "
            row = "".join(picture[k].ljust(wide) for picture in cells[part])
            lines.append(Text(mark, style="dim") + Text(row.rstrip(), style="blue"))
        lines.append(Text("  → position read; ↑ position stored", style="dim"))
        lines.append(Text())
    return lines


def _cells(density: Array) -> list[str]:
    """Lines from the top; `density` goes along the position read first."""

    def shade(value: float) -> str:
        return next((mark for least, mark in reversed(_SHADES) if value >= least), " ")

    return ["".join(shade(float(value)) for value in row) for row in density.T[::-1]]


def draw_comparison(found: Comparison, url: str, path: Path) -> None:
    """Writes a picture: for each way to shuffle, where every stored row comes.

    Raises OptionError if matplotlib is not installed or the file can't be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise OptionError(
            "matplotlib draws the picture and is not installed: pip install 'tfpetastorm[plots]', or leave out --out."
        ) from None
    count = len(found.trials)
    columns = min(count, 5 if count != 6 else 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(2.5 * columns + 0.4, 3.15 * rows + 0.75), layout="constrained", facecolor=_PAPER)
    panels = figure.subplots(rows, columns, squeeze=False)
    for trial, axes in zip(found.trials, panels.flat, strict=False):
        _panel(trial, found, axes)
    for axes in list(panels.flat)[count:]:
        axes.set_axis_off()
    figure.suptitle(
        f"{Path(printable(url)).name}: where each stored row comes in an epoch. "
        f"{found.rows:,} rows, {found.row_groups:,} row groups, batches of {found.batch:,}",
        fontsize=10,
        color=_INK,
        x=0.01,
        ha="left",
    )
    figure.supxlabel("position read (× perfect: how much more often stored neighbours come in one batch)", fontsize=8)
    figure.supylabel("position stored", fontsize=8)
    try:
        figure.savefig(path, dpi=100)
    except (OSError, ValueError) as error:
        raise OptionError(f"{path} can't be written: {getattr(error, 'strerror', None) or error}.") from None


def _panel(trial: Trial, found: Comparison, axes: Any) -> None:
    if trial.points is not None:
        axes.scatter(*trial.points, s=1.2, color=_BLUE, linewidths=0)
        axes.set_xlim(0, found.rows)
        axes.set_ylim(0, found.rows)
        axes.set_box_aspect(1)
    else:
        extent = (0, found.rows, 0, found.rows)
        axes.imshow(trial.fine.T, origin="lower", extent=extent, cmap="Blues", vmin=0, vmax=4, aspect="equal")
    axes.set_facecolor("white")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color("#c8c8c8")
    memory = f", {size_text(trial.memory)} memory" if trial.block_rows else ""
    axes.set_title(trial.name, fontsize=8.5, color=_INK, loc="left", pad=4)
    axes.set_xlabel(
        f"correlation {trial.quality.correlation:.3f}{memory}\n"
        f"× perfect: {times_perfect(trial, found)};  {trial.quality.row_groups:,.1f} row groups a batch",
        fontsize=7.5,
        color=_FAINT,
        loc="left",
    )

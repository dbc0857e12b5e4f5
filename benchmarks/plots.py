"""The figures as pictures: ratios as bars with their targets, memory over time with its bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

REACHED, MISSED, NEUTRAL = "#2f7d4f", "#b5482a", "#5b7083"


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """Writes ratios.svg and memory.svg (what there are results for) into `folder`, and returns their paths."""
    import matplotlib as mpl

    mpl.use("svg")
    # Text stays text and ids stay the same, so that a picture that is committed has small differences.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tfpetastorm", "font.size": 10})
    mpl.rcParams.update({"font.family": "sans-serif", "axes.spines.top": False, "axes.spines.right": False})
    drawn = []
    if results.get("contests"):
        drawn.append(_ratios(list(results["contests"].values()), folder / "ratios.svg"))
    if results.get("memory"):
        drawn.append(_memory(results["memory"], folder / "memory.svg"))
    return drawn


def _ratios(outcomes: list[dict[str, Any]], path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 0.7 + 0.55 * len(outcomes)), layout="constrained")
    for y, outcome in enumerate(outcomes):
        colour = NEUTRAL if outcome["target"] is None else REACHED if outcome["reached"] else MISSED
        spread = [
            [outcome["ratio"] - outcome["ratio_low"]],
            [outcome["ratio_high"] - outcome["ratio"]],
        ]
        axes.barh(y, outcome["ratio"], color=colour, height=0.55, xerr=spread, ecolor="#333333", capsize=2)
        axes.text(outcome["ratio_high"] * 1.08, y, f"{outcome['ratio']:.2f} ×", va="center")
        if outcome["target"] is not None:
            axes.plot([outcome["target"]] * 2, [y - 0.4, y + 0.4], color="black", linewidth=2)
    axes.set_yticks(range(len(outcomes)), [outcome["name"] for outcome in outcomes])
    axes.invert_yaxis()
    axes.set_xscale("log")
    low, high = min(o["ratio_low"] for o in outcomes), max(o["ratio_high"] for o in outcomes)
    axes.set_xlim(min(0.3, low * 0.8), max(30.0, high * 2))
    axes.axvline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.xaxis.set_major_formatter("{x:g} ×")
    figure.supxlabel(
        "Rate as a multiple of the reference's. Bar: median of the rounds; whiskers: lowest and highest; black: target",
        fontsize=9,
    )
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _memory(usages: list[dict[str, Any]], path: Path) -> Path:
    import matplotlib.pyplot as plt

    from benchmarks.memory import ALLOWANCE_MB

    figure, panels = plt.subplots(
        len(usages), 1, figsize=(9, 0.6 + 1.9 * len(usages)), layout="constrained", squeeze=False
    )
    for axes, usage in zip(panels[:, 0], usages, strict=True):
        # A hundredth of a second is finer than a picture shows: the maximum of each of 500 stretches is kept.
        step = max(1, len(usage["samples"]) // 500)
        kept = [max(usage["samples"][i : i + step], key=lambda s: s[1]) for i in range(0, len(usage["samples"]), step)]
        axes.fill_between([at for at, _ in kept], [mb for _, mb in kept], color=NEUTRAL, linewidth=0)
        axes.axhline(usage["budget"] + ALLOWANCE_MB, color="black", linewidth=1)
        axes.set_ylim(0, (usage["budget"] + ALLOWANCE_MB) * 1.1)
        axes.set_title(usage["title"], loc="left", fontsize=10)
        axes.set_ylabel("MB above idle")
    panels[-1, 0].set_xlabel("seconds, 20 epochs; line: budget + 300 MB")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path

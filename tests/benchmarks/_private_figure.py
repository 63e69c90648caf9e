"""Draws accuracy over a hospital's patients, from ``private_learning.json``.

``python tests/benchmarks/_private_figure.py docs/results/private_learning.json OUT.svg``
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SHOWN = {
    "not_private": ("not private", "#444444", "--"),
    "epsilon_8": ("epsilon 8", "#0b4f8a", "-"),
    "epsilon_3": ("epsilon 3", "#d1591d", "-"),
}
STARTS = {"scratch": "everything trained, from scratch", "public": "last block, on a public start"}
CHANCE = 100 / 8
SMALL = {"color": "#888888", "fontsize": 8}


def draw(record: dict[str, Any], path: Path) -> None:
    """One panel for each start; bars are standard deviations over seeds."""
    mpl.rcParams["svg.hashsalt"] = "fedefm"  # the same figures give the same file
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, start in zip(panels, STARTS, strict=True):
        _panel(axes, record[start], STARTS[start])
    panels[0].set_ylabel("test accuracy of the global model (%)")
    panels[0].legend(frameon=False, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _panel(axes: Axes, rows: dict[str, Any], title: str) -> None:
    for name, (label, color, style) in SHOWN.items():
        points = [(int(n), row[name]) for n, row in rows.items() if row.get(name)]
        axes.errorbar(
            [n for n, _ in points],
            [100 * cell["accuracy_mean"] for _, cell in points],
            yerr=[100 * (cell["accuracy_std"] or 0) for _, cell in points],
            color=color,
            linestyle=style,
            marker="o",
            markersize=4,
            capsize=3,
            label=label,
        )
    axes.axhline(CHANCE, color="#bbbbbb", linewidth=1)
    axes.text(0.99, CHANCE / 100 + 0.01, "chance", ha="right", transform=axes.transAxes, **SMALL)
    axes.set_xscale("log")
    axes.set_xticks([int(n) for n in rows], [f"{int(n):,}" for n in rows])
    axes.minorticks_off()
    axes.set_xlabel("patients a hospital")
    axes.set_title(title, fontsize=10)
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))

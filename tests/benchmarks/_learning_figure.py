"""Draws accuracy over what a site has sent, and the final accuracies, from ``learning.json``."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SHOWN = {
    "centralized": ("all images in one place", "#444444"),
    "fedefm": ("FedEFM (swap)", "#0b4f8a"),
    "gossip": ("gossip, one partner a round", "#d1591d"),
    "fedavg": ("FedAvg", "#3a8a3f"),
    "fedefm_mixed": ("FedEFM (mixed)", "#6fa8dc"),
    "gossip_ring": ("gossip, whole ring", "#f2a679"),
    "fedefm_literal": ("FedEFM (as printed)", "#8e5aa8"),
    "local": ("local only", "#999999"),
}


def draw(record: dict[str, Any], path: Path) -> None:
    """Two panels: curves over rounds' share of the budget, bars with the spread over seeds."""
    mpl.rcParams["svg.hashsalt"] = "fedefm"  # the same figures give the same file
    figure = Figure(figsize=(10, 4), layout="constrained")
    curves, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    _curves(curves, record)
    _bars(bars, record)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _curves(axes: Axes, record: dict[str, Any]) -> None:
    for name, (label, color) in SHOWN.items():
        points = record.get(name, {}).get("curve")
        if points:
            last = points[-1][0]
            x = [0, *(100 * round_number / last for round_number, _ in points)]
            y = [1 / len(record["more"]["classes"]), *(value for _, value in points)]
            style = "--" if name == "centralized" else "-"
            axes.plot(x, [100 * v for v in y], style, color=color, label=label)
    axes.set_xlabel("share of the run (% of its rounds)")
    axes.set_ylabel("test accuracy of the global model (%)")
    axes.grid(alpha=0.3)


def _bars(axes: Axes, record: dict[str, Any]) -> None:
    names = [name for name in SHOWN if name in record][::-1]
    means = [100 * record[name]["accuracy_mean"] for name in names]
    spread = [100 * (record[name]["accuracy_std"] or 0) for name in names]
    colors = [SHOWN[name][1] for name in names]
    axes.barh([SHOWN[name][0] for name in names], means, xerr=spread, color=colors)
    for place, mean in enumerate(means):
        axes.text(1, place, f"{mean:.1f}", va="center", color="white", fontsize=8)
    axes.set_xlabel("final test accuracy (%)")
    axes.spines[["top", "right"]].set_visible(False)

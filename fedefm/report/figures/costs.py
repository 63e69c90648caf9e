"""What the run cost: bytes by round and by site, and where each site's time went."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedefm.report.figures.canvas import ACCENT, drawn, shortened
from fedefm.report.figures.curves import round_axis

PHASES = {  # what a site's time went into: color, hatching, name
    "train": (ACCENT, "", "training"),
    "exchange": ("#6aaed6", "///", "exchanging"),
    "waiting": ("#c3cbd2", "\\\\\\", "waiting and other"),
}


def traffic_by_round(sent: Sequence[tuple[int, float]]) -> Markup:
    """Bytes that were sent, by round."""
    unit, name = _unit(max(value for _, value in sent))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        rounds, values = [n for n, _ in sent], [value / unit for _, value in sent]
        if len(sent) <= 60:
            axes.bar(rounds, values, color=ACCENT, width=0.7)
        else:
            axes.fill_between(rounds, values, color=ACCENT, step="mid", linewidth=0)
        axes.set_ylim(bottom=0)
        axes.set_xlim(rounds[0] - 0.6, rounds[-1] + 0.6)
        axes.set_ylabel(f"sent ({name})")
        axes.grid(axis="y")
        round_axis(axes)

    return drawn("traffic", "Bytes sent by round", (9.6, 2.5), paint)


def time_by_site(times: Mapping[str, Mapping[str, float]]) -> Markup:
    """Seconds by site and phase (the keys of ``PHASES``), as one bar a site."""
    longest = max(sum(phases.values()) for phases in times.values())
    unit, name = (60.0, "minutes") if longest > 300 else (1.0, "seconds")

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, phases in enumerate(times.values()):
            _bar(axes, row, {phase: seconds / unit for phase, seconds in phases.items()})
        axes.set_yticks(range(len(times)), [shortened(site) for site in times])
        axes.set_ylim(len(times) - 0.5, -0.5)
        axes.set_xlabel(name)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        figure.legend(loc="outside upper right", ncols=3, fontsize=8.5)

    size = (9.6, 1.15 + 0.27 * len(times))
    return drawn("time", "Where the time of each site went", size, paint)


def _bar(axes: Axes, row: int, phases: Mapping[str, float]) -> None:
    left = 0.0
    for phase, (color, hatch, label) in PHASES.items():
        width = phases.get(phase, 0.0)
        axes.barh(
            row,
            width,
            left=left,
            height=0.62,
            color=color,
            hatch=hatch,
            linewidth=0,
            label=label if row == 0 else None,
        )
        left += width


def _unit(largest: float) -> tuple[float, str]:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if largest >= unit:
            return unit, name
    return 1.0, "B"

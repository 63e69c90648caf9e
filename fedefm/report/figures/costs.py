"""What the run cost: bytes by round and by site, and where each site's time went."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedefm.report import in_words
from fedefm.report.figures.canvas import ABSENT, ACCENT, SECOND, drawn, shortened
from fedefm.report.figures.curves import round_axis
from fedefm.report.numbers import count, data_size, duration

PHASES = {  # what a site's time went into: color, hatching, name
    "train": (ACCENT, "", "training"),
    "exchange": (SECOND, "///", "exchanging"),
    "waiting": (ABSENT, "\\\\\\", "waiting and other"),
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

    largest = max(sent, key=lambda each: each[1])
    told = (
        f"Bytes sent by round: {data_size(sum(value for _, value in sent))} in "
        f"{count(len(sent), 'round')}, at most {data_size(largest[1])}, in round {largest[0]}."
    )
    return drawn("traffic", told, (9.6, 2.5), paint)


def traffic_by_site(sent: Mapping[str, float], received: Mapping[str, float]) -> Markup:
    """Bytes that each site sent and received over the run, as two bars a site."""
    largest = max([*sent.values(), *received.values()])
    unit, name = _unit(largest)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        looks = (("sent", sent, ACCENT, "", -0.19), ("received", received, SECOND, "///", 0.19))
        for label, values, color, hatch, shift in looks:
            places = [row + shift for row in range(len(sent))]
            widths = [values.get(site, 0.0) / unit for site in sent]
            axes.barh(
                places, widths, height=0.34, color=color, hatch=hatch, linewidth=0, label=label
            )
        _name_rows(axes, list(sent))
        axes.set_xlabel(name)
        figure.legend(loc="outside upper right", ncols=2, fontsize=8.5)

    told = in_words.bars(sent, data_size)
    size = (9.6, 1.15 + 0.36 * len(sent))
    return drawn("traffic-sites", f"Bytes by site. Sent: {told}", size, paint)


def time_by_site(times: Mapping[str, Mapping[str, float]]) -> Markup:
    """Seconds by site and phase (the keys of ``PHASES``), as one bar a site."""
    longest = max(sum(phases.values()) for phases in times.values())
    unit, name = (60.0, "minutes") if longest > 300 else (1.0, "seconds")

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, phases in enumerate(times.values()):
            _bar(axes, row, {phase: seconds / unit for phase, seconds in phases.items()})
        _name_rows(axes, list(times))
        axes.set_xlabel(name)
        figure.legend(loc="outside upper right", ncols=3, fontsize=8.5)

    size = (9.6, 1.15 + 0.27 * len(times))
    told = " ".join(
        f"{site}: {', '.join(f'{PHASES[p][2]} {duration(s)}' for p, s in phases.items())}."
        for site, phases in list(times.items())[: in_words.MOST]
    )
    return drawn("time", f"Where the time of each site went. {told}", size, paint)


def _name_rows(axes: Axes, sites: Sequence[str]) -> None:
    axes.set_yticks(range(len(sites)), [shortened(site) for site in sites])
    axes.set_ylim(len(sites) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


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

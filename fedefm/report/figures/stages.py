"""Lines over stages: what each site's task was worth, from its own stage on."""

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fedefm.report.figures.canvas import ABOVE_AXES, drawn, shortened
from fedefm.report.figures.curves import Line, name_line_ends, site_colors
from fedefm.report.measures import Words
from fedefm.report.numbers import percent
from fedefm.report.stages import StagedTask, Stages


def stages_figure(stages: Stages, words: Words) -> Markup:
    """One line a task; before its own stage there is none, as its head had learned nothing."""
    colors = site_colors([task.site for task in stages.tasks])

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        labels: list[Line] = []
        for task in stages.tasks:
            points = _points(task)
            if points:
                color = colors[task.site]
                (line,) = axes.plot(*zip(*points, strict=True), color=color, marker="o")
                line.set_clip_on(False)
                line.set_zorder(ABOVE_AXES)
                labels.append((shortened(task.site), color, points[-1][1]))
        axes.set_xticks(range(len(stages.names)), stages.names)
        axes.set_xlim(-0.05, len(stages.names) - 0.95)
        axes.set_ylim(min([0.0, *(value for _, _, value in labels)]), 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_ylabel(words.axis)
        axes.grid(axis="y")
        name_line_ends(axes, labels)

    told = " ".join(_told(task, stages.names) for task in stages.tasks)
    return drawn(
        "stages", f"{words.title} of each task after each stage. {told}", (9.6, 3.4), paint
    )


def _points(task: StagedTask) -> list[tuple[int, float]]:
    cells = enumerate(task.cells)
    return [(k, score) for k, (score, learned, _) in cells if learned and score is not None]


def _told(task: StagedTask, names: tuple[str, ...]) -> str:
    told = ", ".join(f"{percent(score)} after {names[k]}" for k, score in _points(task))
    return f"{task.site}: {told}." if told else ""

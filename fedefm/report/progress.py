"""A run as it goes on: a live table on a terminal, one plain line a round elsewhere.

Both are listeners of the event log and context managers::

    with progress(Console(stderr=True)) as listener:
        log = EventLog(folder / "events.jsonl", (listener,))
"""

from types import TracebackType
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from fedefm.events import Event
from fedefm.report.numbers import count, decimal, duration, known, percent, plain
from fedefm.report.sentences import planned_spend
from fedefm.report.watch import RunState, SiteState

_STYLES = {"ok": "green", "late": "yellow", "failed": "red", "absent": "red"}


class Display(Protocol):
    """A listener that is opened before the run and closed after it."""

    def __call__(self, event: Event) -> None: ...
    def __enter__(self) -> "Display": ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def progress(console: Console) -> Display:
    """The live display where ``console`` is a terminal, plain lines elsewhere."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


class PlainProgress:
    """One line a round, for log files and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._state = RunState()
        self._round_over = False  # its line waits for the accuracies that may follow

    def __call__(self, event: Event) -> None:
        """Print the lines that ``event`` completes, if any."""
        if event["event"] not in ("evaluated", "metrics"):
            self._say_round()
        self._state.take(event)
        if event["event"] == "run_started":
            sites, rounds = len(event["sites"]), event["rounds"]
            self._say(f"{event['name']}: {count(sites, 'site')}, {count(rounds, 'round')}")
        elif event["event"] == "privacy_planned":
            self._say(planned_spend(event))
        elif event["event"] == "round_finished":
            self._round_over = True
        elif event["event"] == "run_finished":
            self._say(self._state.end(str(event["status"])))

    def __enter__(self) -> "PlainProgress":
        return self

    def __exit__(self, *reason: object) -> None:
        self._say_round()

    def _say_round(self) -> None:
        if self._round_over:
            self._say(self._state.line())
        self._round_over = False

    def _say(self, line: str) -> None:
        self._console.print(Text(plain(line)), soft_wrap=True)


class LiveProgress:
    """A table of the sites and a bar with the time left, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._state = RunState()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rounds,"),
            TimeElapsedColumn(),
            TextColumn("gone,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
        )
        self._task = self._bar.add_task("run", total=None)
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=4)

    def __call__(self, event: Event) -> None:
        """Take ``event`` into the picture; the next redrawing shows it."""
        self._state.take(event)
        if event["event"] == "privacy_planned":
            self._live.console.print(Text(planned_spend(event)), soft_wrap=True)
        elif event["event"] == "run_started":
            done = event.get("resumed_from") or 0
            self._bar.reset(self._task, total=event["rounds"], completed=done)
            self._bar.update(self._task, description=escape(event["name"]))
        elif event["event"] == "round_finished":
            self._bar.update(self._task, completed=event["round"] + 1)

    def __enter__(self) -> "LiveProgress":
        self._live.start(refresh=True)
        return self

    def __exit__(self, *reason: object) -> None:
        self._live.stop()

    def _picture(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("site", "status", "round", "loss", "score", "waiting"):
            table.add_column(name, justify="left" if name in ("site", "status") else "right")
        for name, site in self._state.sites.items():
            table.add_row(*_cells(name, site))
        parts = [Text(self._state.shared(), style="bold")] if self._state.shared() else []
        return Group(table, *parts, self._bar)


def _cells(name: str, site: SiteState) -> tuple[Text, ...]:
    return (
        Text(name),
        Text(site.status, style=_STYLES.get(site.status, "")),
        Text("" if site.round is None else str(site.round + 1)),
        Text(decimal(site.loss) if known(site.loss) else ""),
        Text(percent(site.score) if known(site.score) else ""),
        Text(duration(site.waiting) if known(site.waiting) else ""),
    )

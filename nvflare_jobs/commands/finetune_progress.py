"""What a person sees of fine-tuning: two bars on a terminal, elsewhere a line a validation."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from fedefm.events import Event, Listener
from fedefm.report.sentences import planned_spend

if TYPE_CHECKING:
    from fedefm.data.dataset import Progress as Counter  # torch loads slowly


@contextmanager
def finetune_progress(quiet: bool) -> Iterator[tuple["Counter", Listener]]:
    """A callback for decoded images and a listener for training; both write to standard error."""
    console = Console(stderr=True)
    if quiet:
        yield (lambda done, total: None), (lambda event: None)
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bars:
            decode, train = (bars.add_task(what, total=None) for what in ("decode images", "train"))
            yield (
                lambda done, total: bars.update(decode, completed=done, total=total),
                lambda event: _advance(bars, train, event),
            )
    else:
        yield (lambda done, total: None), _print_validation


def _advance(bars: Progress, task: TaskID, event: Event) -> None:
    if event["event"] == "privacy_planned":
        bars.console.print(Text(planned_spend(event)), soft_wrap=True)
    if event["event"] == "finetune_step":
        loss = event["loss"]
        shown = "train, privately" if loss is None else f"train, loss {loss:.3f}"
        bars.update(task, completed=event["step"], total=event["steps"], description=shown)


def _print_validation(event: Event) -> None:
    if event["event"] == "privacy_planned":
        print(planned_spend(event), file=sys.stderr, flush=True)
    if event["event"] == "finetune_validation":
        score = "undefined" if event["score"] is None else f"{event['score']:.3f}"
        line = f"step {event['step']}: validation {event['measure']} {score}"
        print(line, file=sys.stderr, flush=True)

"""Progress that suits where it is shown: a bar on a terminal, a few plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_STEPS = 4  # lines of a long piece of work in a log
WORTH_A_LINE = 200


@contextmanager
def progress_of(title: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A callback ``(done, total)``; it writes to standard error, so that output stays clean.

    ``quiet`` shows nothing: what scripts read with ``--json``.
    """
    console = Console(stderr=True)
    if quiet:
        yield lambda done, total: None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
            task = bars.add_task(title, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)
    else:
        yield lambda done, total: _plain(title, done, total)


def _plain(title: str, done: int, total: int) -> None:
    step = max(total // PLAIN_STEPS, 1)
    if total >= WORTH_A_LINE and done % step == 0:
        print(f"{title}: {done} of {total}", file=sys.stderr)

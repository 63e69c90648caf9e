"""A run in the place that was asked for, shown as it goes on, and its report at the end."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from fedefm.config import RunConfig
from fedefm.errors import QuorumLost
from fedefm.report.metrics_csv import MetricsCsv
from fedefm.report.progress import progress as live_progress
from fedefm.report.run_report import write_report
from fedefm.report.tensorboard import TensorBoard
from fedefm.train.protection import Protect
from fedefm.train.run import run_in_process
from fedefm.train.run_files import STATE
from fedefm.train.secrecy import Hide
from nvflare_jobs.admin.outcome import JobEnded
from nvflare_jobs.admin.person_kit import read_person_kit
from nvflare_jobs.commands.job_options import say_connecting, site_names
from nvflare_jobs.commands.progress import progress_of
from nvflare_jobs.commands.run_options import SITES, Where
from nvflare_jobs.completing import METRICS, TENSORBOARD, has_begun

MEMORIES = "secure_sums"  # of a run's parties, in its state


def perform(
    settings: RunConfig,
    sites: Path,
    folder: Path,
    where: Where,
    resume: bool,
    quiet: bool,
    kit: Path | None = None,
) -> None:
    """Run, watched; the report is written however the run ends, once it has begun."""
    with ExitStack() as stack:
        listeners: list[Any] = [_Recorder(folder)]
        console = Console(stderr=True, quiet=quiet)
        if not quiet:
            listeners.append(stack.enter_context(live_progress(console)))
        try:
            if where is Where.process:
                decoding = stack.enter_context(progress_of("reading images", quiet))
                told, guard, hide = tuple(listeners), _protect(settings), _hide(settings, folder)
                run_in_process(settings, sites, folder, resume, told, None, decoding, guard, hide)
            elif where is Where.prod:
                _run_at_sites(settings, sites, folder, resume, tuple(listeners), kit, console)
            else:
                from nvflare_jobs.simulator import run_in_simulator  # FLARE loads slowly

                run_in_simulator(settings, sites, folder, resume, tuple(listeners))
        except (QuorumLost, JobEnded, KeyboardInterrupt):
            if has_begun(folder):
                write_report(folder)
            raise
    write_report(folder)


def _run_at_sites(
    settings: RunConfig,
    sites: Path,
    folder: Path,
    resume: bool,
    listeners: tuple[Any, ...],
    kit: Path | None,
    console: Console,
) -> None:
    names = site_names("" if sites == SITES else str(sites), settings)
    person = read_person_kit(kit)
    say_connecting(person, console.quiet)
    from nvflare_jobs.admin.at_sites import run_at_sites  # FLARE loads slowly
    from nvflare_jobs.admin.server import log_in

    def say(line: str) -> None:
        console.print(Text(line), soft_wrap=True)

    run_at_sites(settings, names, folder, lambda: log_in(person), say, resume, listeners)


def _protect(settings: RunConfig) -> Protect | None:
    """What guards the sites of a private run; the privacy packages load slowly."""
    if settings.privacy.dp is None:
        return None
    from nvflare_jobs.protect import ByLedger

    return ByLedger()


def _hide(settings: RunConfig, folder: Path) -> Hide | None:
    """What hides the parts of a run's sums, with memories in the run folder."""
    if settings.privacy.secagg is None:
        return None
    from nvflare_jobs.secure import BySecureSums

    return BySecureSums(folder / STATE / MEMORIES)


class _Recorder:
    """Numbers for spreadsheets and TensorBoard, begun when the run has its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listeners: list[Any] = []

    def __call__(self, event: dict[str, Any]) -> None:
        if not self._listeners:
            self._listeners = [
                MetricsCsv(self._folder / METRICS),
                TensorBoard(self._folder / TENSORBOARD),
            ]
        for listener in self._listeners:
            listener(event)

"""``fedefm run``: one run file, in this process, in NVIDIA FLARE's simulator, or at real sites."""

import json
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from fedefm.config import RunConfig, read_run
from fedefm.errors import QuorumLost
from fedefm.report.metrics_csv import MetricsCsv
from fedefm.report.progress import progress as live_progress
from fedefm.report.run_report import write_report
from fedefm.report.tensorboard import TensorBoard
from fedefm.train.protection import Protect
from fedefm.train.run import run_in_process
from fedefm.train.run_files import RESULT, STATE
from fedefm.train.secrecy import Hide
from fedefm.words import several
from nvflare_jobs.admin.outcome import JobEnded
from nvflare_jobs.admin.person_kit import read_person_kit
from nvflare_jobs.commands.job_options import Kit, say_connecting, site_names
from nvflare_jobs.commands.progress import progress_of
from nvflare_jobs.completing import METRICS, TENSORBOARD, has_begun

SITES = Path("sites")
MEMORIES = "secure_sums"  # of a run's parties, in its state


class Where(str, Enum):
    """Places where a run file can run."""

    process = "process"
    simulator = "simulator"
    prod = "prod"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(run)


def run(
    run_file: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The settings of the run.")],
    sites: Annotated[
        Path,
        typer.Option(
            help="A folder with one folder a site, as `fedefm data split` makes it; for real "
            "sites their names, with commas."
        ),
    ] = SITES,
    where: Annotated[
        Where,
        typer.Option(
            help="process: all sites here. simulator: one FLARE process a site. prod: real sites."
        ),
    ] = Where.process,
    out: Annotated[
        Path | None, typer.Option(help="The run folder to make; runs/NAME if not given.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run in the run folder.")
    ] = False,
    kit: Kit = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print result.json and show no progress, for scripts.")
    ] = False,
) -> None:
    """Pre-train a foundation model over the sites and write a run folder with its report.

    Example: fedefm run examples/ring.yaml --sites sites --out runs/ring

    Example: fedefm run ring.yaml --where prod --sites hosp-a,hosp-b --kit lead@hub.org
    """
    settings = read_run(run_file)
    folder = out or Path("runs") / settings.name
    perform(settings, sites, folder, where, resume, as_json, kit)
    if as_json:
        print((folder / RESULT).read_text(encoding="utf-8"), end="")
        return
    print(_summary(json.loads((folder / RESULT).read_text(encoding="utf-8"))))
    print(f"report: {folder / 'report.html'}")


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


def _summary(result: dict[str, Any]) -> str:
    metrics = result["metrics"]
    accuracy = metrics.get("global_accuracy")
    if accuracy is None:
        shown = "no global model" if "global_accuracy" not in metrics else "no test images"
    else:
        low, high = metrics.get("global_accuracy_low"), metrics.get("global_accuracy_high")
        shown = f"accuracy of the global model {accuracy:.1%}"
        if low is not None and high is not None:
            shown += f", 95 % interval {low:.1%} to {high:.1%}"
    rounds, sites = several(result["rounds"], "round"), several(len(result["sites"]), "site")
    absent = [site for site, turns in result["participation"].items() if not turns]
    without = f", {', '.join(absent)} never took part" if absent else ""
    return f"{rounds} at {sites}{without}; {shown}"

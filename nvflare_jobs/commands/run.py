"""``fedefm run``: one run file, in this process, in NVIDIA FLARE's simulator, or at real sites."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fedefm.config import read_run
from fedefm.report.measures import MEASURES
from fedefm.train.run_files import RESULT
from fedefm.words import several
from nvflare_jobs.commands.job_options import Kit
from nvflare_jobs.commands.run_options import SITES, Where


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
    from nvflare_jobs.commands.watched_run import perform  # torch loads slowly

    perform(settings, sites, folder, where, resume, as_json, kit)
    if as_json:
        print((folder / RESULT).read_text(encoding="utf-8"), end="")
        return
    print(_summary(json.loads((folder / RESULT).read_text(encoding="utf-8"))))
    print(f"report: {folder / 'report.html'}")


def _summary(result: dict[str, Any]) -> str:
    metrics = result["metrics"]
    shown = _worth(metrics)
    rounds, sites = several(result["rounds"], "round"), several(len(result["sites"]), "site")
    absent = [site for site, turns in result["participation"].items() if not turns]
    without = f", {', '.join(absent)} never took part" if absent else ""
    return f"{rounds} at {sites}{without}; {shown}"


def _worth(metrics: dict[str, Any]) -> str:
    """What the global model is worth, by whichever measure the run has."""
    told = [words for words in MEASURES.values() if f"global_{words.name}" in metrics]
    if not told:
        return "no global model"
    name = f"global_{told[0].name}"
    score, low, high = (metrics.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if score is None:
        return "no test images"
    interval = "" if low is None or high is None else f", 95 % interval {low:.1%} to {high:.1%}"
    return f"{told[0].noun} of the global model {score:.1%}{interval}"

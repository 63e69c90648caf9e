"""``fedefm job``: a run file as a job for NVIDIA FLARE, with settings in it and no code."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedefm.config import RunConfig, read_run
from fedefm.errors import ConfigError
from fedefm.topology.graphs import NAMED, sites_in

jobs = typer.Typer(
    help="Make NVIDIA FLARE jobs out of run files.", no_args_is_help=True, add_completion=False
)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(jobs, name="job")


@jobs.callback()
def group() -> None:
    """Make NVIDIA FLARE jobs out of run files."""


@jobs.command()
def export(
    run_file: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The settings of the run.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the job's folder goes.")],
    sites: Annotated[
        str,
        typer.Option(help="FLARE names of the sites, with commas; a topology file names its own."),
    ] = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what the sites have saved of this run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Write DIR/NAME, a job to submit with FLARE's console or to run in its simulator.

    The run file must name model.classes: no site knows the labels of the others.

    Example: fedefm job export ring.yaml jobs --sites hosp-a,hosp-b,hosp-c
    """
    run = read_run(run_file)
    names = _names(sites, run)
    from nvflare_jobs.jobs.pretrain import export_tracked_job  # FLARE loads slowly
    from nvflare_jobs.parties.terms import terms_for

    job = export_tracked_job(terms_for(run, names, resume), folder)
    if as_json:
        print(json.dumps({"job": str(job), "sites": names, "resume": resume}))
        return
    print(f"job for {len(names)} sites: {job}")


def _names(sites: str, run: RunConfig) -> list[str]:
    names = [name.strip() for name in sites.split(",") if name.strip()]
    if names:
        return names
    if run.federation.topology in NAMED:
        raise ConfigError(
            f"topology {run.federation.topology!r} does not say which sites take part; "
            "name them with --sites hosp-a,hosp-b"
        )
    return sites_in(run.federation.topology)

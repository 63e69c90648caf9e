"""``fedefm job export``: a run file as a job's folder, with settings in it and no code."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedefm.config import read_run
from fedefm.words import several
from nvflare_jobs.commands.job_options import AsJson, Sites, site_names


def export(
    run_file: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The settings of the run.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the job's folder goes.")],
    sites: Sites = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what the sites have saved of this run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write DIR/NAME, a job to submit with FLARE's own console.

    The run file must name model.classes: no site knows the labels of the others.

    Example: fedefm job export ring.yaml jobs --sites hosp-a,hosp-b,hosp-c
    """
    run = read_run(run_file)
    names = site_names(sites, run)
    from nvflare_jobs.jobs.pretrain import export_tracked_job  # FLARE loads slowly
    from nvflare_jobs.parties.terms import terms_for

    job = export_tracked_job(terms_for(run, names, resume), folder)
    if as_json:
        print(json.dumps({"job": str(job), "sites": names, "resume": resume}))
        return
    print(f"job for {several(len(names), 'site')}: {job}")

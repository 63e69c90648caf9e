"""``fedefm job download``: the run folder of a job that is over."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fedefm.errors import ProtocolError
from nvflare_jobs.commands.job_options import AsJson, Job, Kit, server_of


def download(
    job: Job,
    out: Annotated[
        Path, typer.Option(help="Where the run folder goes, under the job's name.")
    ] = Path("runs"),
    kit: Kit = None,
    as_json: AsJson = False,
) -> None:
    """Take the run folder of a job to OUT/NAME: model with card, figures, events and report.

    Of a job that failed it brings what there is, says why, and ends with an error.

    Example: fedefm job download 4f9b4b1c-0d7e-4c4c-9d0e-2a0c3a1d3f11 --out runs
    """
    with server_of(kit, as_json) as server:
        from nvflare_jobs.admin.fetching import download as fetch
        from nvflare_jobs.admin.job_facts import OVER, facts_of
        from nvflare_jobs.admin.outcome import JobEnded

        facts = facts_of(server.meta(job))
        if facts.stage != OVER:
            raise ProtocolError(
                f"{facts.sentence()}, so there is no result yet; follow it: fedefm job watch {job}"
            )
        folder, outcome = fetch(server, facts, out)
    if as_json:
        print(json.dumps({"job": job, "folder": str(folder), "sentence": outcome.sentence}))
    else:
        print(f"run folder: {folder}")
        if (folder / "report.html").exists():
            print(f"report: {folder / 'report.html'}")
    if not outcome.done:
        raise JobEnded(outcome.sentence)

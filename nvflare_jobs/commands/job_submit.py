"""``fedefm job submit``: a run file handed to real sites, and whether they take it."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fedefm.config import read_run
from nvflare_jobs.admin.outcome import JobEnded
from nvflare_jobs.admin.person_kit import read_person_kit
from nvflare_jobs.commands.job_options import AsJson, Kit, Sites, server_of, site_names


def submit(
    run_file: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The settings of the run.")],
    sites: Sites = "",
    kit: Kit = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what the sites have saved of this run.")
    ] = False,
    queue: Annotated[
        bool, typer.Option("--queue", help="Submit even though too few sites are connected now.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait until the sites have taken it; 0: none.")
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Hand RUN.yaml to the sites as a job, and say who takes it; prints the job's id.

    Ends with an error where the job is refused by so many sites that it cannot run.

    Example: fedefm job submit ring.yaml --sites hosp-a,hosp-b,hosp-c --kit lead@hub.org
    """
    read_person_kit(kit)  # without it, nothing else is worth the time
    run = read_run(run_file)
    names = site_names(sites, run)
    from nvflare_jobs.admin.handing_in import hand_in, refuse_too_few, wait_until_taken
    from nvflare_jobs.parties.terms import terms_for

    terms = terms_for(run, names, resume)
    with server_of(kit, as_json) as server:
        away = [] if queue else refuse_too_few(server, terms)
        job = hand_in(server, terms)
        facts = wait_until_taken(server, job, wait)
        from nvflare_jobs.admin.fetching import explained
        from nvflare_jobs.admin.job_facts import OVER

        outcome = explained(server, facts) if facts.stage == OVER else None
    if as_json:
        told = {"job": job, "name": facts.name, "status": facts.status, "sites": names}
        print(json.dumps({**told, "refused": dict(facts.refused), "not_connected": away}))
    else:
        print(job)
        if outcome is None or outcome.done:
            for line in [*(f"{site} is not connected" for site in away), *facts.refusals()]:
                print(line, file=sys.stderr)
            print(f"{facts.sentence()}; follow it: fedefm job watch {job}", file=sys.stderr)
    if outcome is not None and not outcome.done:
        raise JobEnded(outcome.sentence)

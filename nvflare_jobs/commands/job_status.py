"""``fedefm job status``: one job in sentences, or all that the server knows in a table."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from fedefm.report import headline
from fedefm.report.numbers import plain
from nvflare_jobs.commands.job_options import AsJson, Kit, server_of

if TYPE_CHECKING:
    from nvflare_jobs.admin.job_facts import JobFacts
    from nvflare_jobs.admin.job_view import JobView
    from nvflare_jobs.admin.outcome import Outcome


def status(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="FLARE's id of a job; none: list all.")
    ] = None,
    kit: Kit = None,
    as_json: AsJson = False,
) -> None:
    """Say how a job stands, who refused it and why, and what to do next; or list all jobs.

    Ends with an error where the job is over and has not done what it was for.

    Example: fedefm job status --kit lead@hub.org
    """
    if job is None:
        _list_jobs(kit, as_json)
    else:
        _tell_job(job, kit, as_json)


def _list_jobs(kit: Kit, as_json: bool) -> None:
    with server_of(kit, as_json) as server:
        from nvflare_jobs.admin.job_facts import facts_of

        known = [facts_of(meta) for meta in server.jobs()]
    if as_json:
        print(json.dumps([_as_json(facts) for facts in known]))
    elif not known:
        print("the server knows no jobs")
    else:
        from nvflare_jobs.admin.job_list import job_lines

        for line in job_lines(known, Console().width if sys.stdout.isatty() else None):
            print(line)


def _tell_job(job: str, kit: Kit, as_json: bool) -> None:
    with server_of(kit, as_json) as server:
        from nvflare_jobs.admin.fetching import explained
        from nvflare_jobs.admin.job_facts import OVER
        from nvflare_jobs.admin.outcome import JobEnded
        from nvflare_jobs.admin.watching import look_once

        facts, view = look_once(server, job)
        outcome = explained(server, facts) if facts.stage == OVER else None
    if as_json:
        print(json.dumps(_as_json(facts, outcome, view)))
    elif outcome is None:
        for line in _lines(view, facts):
            print(plain(line))
    elif outcome.done:
        print(f"{outcome.sentence}; take the result: fedefm job download {job} --out runs")
    if outcome is not None and not outcome.done:
        raise JobEnded(outcome.sentence)


def _lines(view: "JobView", facts: "JobFacts") -> list[str]:
    lines = [facts.sentence()]
    if view.run.rounds:
        lines.append(headline.line(view.record))
    lines += [f"{site} takes no part: {why}" for site, why in view.refused.items()]
    lines += [f"{site} is late: {how}" for site, how in view.lateness().items()]
    return lines + ([view.trouble] if view.trouble else [])


def _as_json(
    facts: "JobFacts", outcome: "Outcome | None" = None, view: "JobView | None" = None
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "job": facts.job,
        "name": facts.name,
        "state": facts.word,
        "status": facts.status,
        "submitter": facts.submitter,
        "submitted": facts.submitted,
        "sites": list(facts.sites),
        "refused": dict(facts.refused),
        "sentence": outcome.sentence if outcome else facts.sentence(),
    }
    if view is not None and view.run.rounds:
        told |= {"round": view.run.round + 1, "rounds": view.run.rounds, "late": view.late()}
    if view is not None:
        told["refused"] = view.refused
    return told

"""``fedefm job watch``: a job as it goes on, on a terminal, in a log, or as a page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from fedefm.report.progress import progress
from nvflare_jobs.admin.person_kit import read_person_kit
from nvflare_jobs.commands.job_options import AsJson, Job, Kit, say_connecting

if TYPE_CHECKING:
    from nvflare_jobs.admin.job_view import JobView
    from nvflare_jobs.admin.watching import Picture


def watch(
    job: Job,
    kit: Kit = None,
    html: Annotated[
        Path | None, typer.Option(help="Keep a page for browsers up to date in this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Follow a job, by site and round, until it is over.

    It may be left with Ctrl-C at any time; the job goes on. Ends with an error where the job does.

    Example: fedefm job watch 4f9b4b1c-0d7e-4c4c-9d0e-2a0c3a1d3f11 --html status.html
    """
    person = read_person_kit(kit)
    say_connecting(person, as_json)
    from nvflare_jobs.admin.outcome import JobEnded  # FLARE loads slowly
    from nvflare_jobs.admin.server import log_in
    from nvflare_jobs.admin.watching import watch_job

    pictures = _pages(html)
    console = Console(stderr=as_json)

    def say(line: str) -> None:
        console.print(Text(line), soft_wrap=True)

    log_in(person).close()  # a wrong kit is no server that may come back
    try:
        with progress(console) as display:
            view = watch_job(lambda: log_in(person), job, say, (display,), pictures)
    except KeyboardInterrupt:
        say(f"the job goes on; watch it again with: fedefm job watch {job}")
        raise typer.Exit(130) from None
    outcome = view.outcome
    if as_json:
        print(json.dumps(_as_json(view)))
    if outcome is not None and not outcome.done:
        raise JobEnded(outcome.sentence)
    if outcome is not None and not as_json:
        say(f"{outcome.sentence}; take the result: fedefm job download {job} --out runs")


def _pages(html: Path | None) -> "tuple[Picture, ...]":
    if html is None:
        return ()
    from nvflare_jobs.admin.job_page import PageFile  # matplotlib loads slowly

    return (PageFile(html),)


def _as_json(view: "JobView") -> dict[str, object]:
    return {
        "job": view.job,
        "name": view.name,
        "state": view.state,
        "sentence": view.outcome.sentence if view.outcome else "",
        "refused": view.refused,
    }

"""Following a job to its end, shown to somebody; the same for a terminal, a log and a page."""

from collections.abc import Callable

from fedefm.events import Listener
from nvflare_jobs.admin.announcing import Announcer, Say
from nvflare_jobs.admin.fetching import explained
from nvflare_jobs.admin.following import first_look, follow
from nvflare_jobs.admin.job_facts import JobFacts, facts_of
from nvflare_jobs.admin.job_view import JobView
from nvflare_jobs.admin.outcome import Outcome
from nvflare_jobs.admin.server import Server

Picture = Callable[[JobView], None]


def watch_job(
    log_in: Callable[[], Server],
    job: str,
    say: Say,
    listeners: tuple[Listener, ...] = (),
    pictures: tuple[Picture, ...] = (),
) -> JobView:
    """Follow the job until it is over; the view that came of it has its outcome.

    ``say`` gets lines, ``listeners`` the events of the run, ``pictures`` the view after each look.
    """
    view, announcer = JobView(job), Announcer(say)
    for look in follow(log_in, job):
        view.take(look)
        for event in look.events:
            for listener in listeners:
                listener(event)
        announcer.look(view)
        for picture in pictures:
            picture(view)
    view.outcome = _outcome(log_in, view)
    for picture in pictures:
        picture(view)
    return view


def look_once(server: Server, job: str) -> tuple[JobFacts, JobView]:
    """How the job stands now."""
    look, view = first_look(server, job), JobView(job)
    view.take(look)
    return look.facts or facts_of({"job_id": job}), view


def _outcome(log_in: Callable[[], Server], view: JobView) -> Outcome:
    if view.facts is None:
        return Outcome(False, f"nothing is known of job {view.job}")
    server = log_in()
    try:
        return explained(server, view.facts)
    finally:
        server.close()

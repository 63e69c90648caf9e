"""One run file at real sites from here: handed in, watched, and brought home into its run folder.

The run folder is begun before the job is, and filled while it runs. So who interrupts this, or
loses the connection, goes on with ``resume``: with the same job if it still runs, with its result
if it has ended well, and else with a new job that begins where the sites have got to.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedefm.config import RunConfig
from fedefm.errors import QuorumLost
from fedefm.events import Listener, read_events
from fedefm.train.run_files import EVENTS
from fedefm.train.run_folder import (
    is_finished,
    open_run_folder,
    run_log,
)
from nvflare_jobs.admin.announcing import Say
from nvflare_jobs.admin.coming_home import Copy, bring_home, recorded
from nvflare_jobs.admin.fetching import job_of, remains_of, write_job
from nvflare_jobs.admin.handing_in import hand_in, refuse_too_few
from nvflare_jobs.admin.job_facts import OVER, JobFacts, facts_of
from nvflare_jobs.admin.outcome import JobEnded, Outcome
from nvflare_jobs.admin.server import Server
from nvflare_jobs.admin.watching import watch_job
from nvflare_jobs.parties.terms import Terms, terms_for

LogIn = Callable[[], Server]


def run_at_sites(
    run: RunConfig,
    sites: Sequence[str],
    out: Path,
    log_in: LogIn,
    say: Say,
    resume: bool = False,
    listeners: tuple[Listener, ...] = (),
) -> Path:
    """Train at ``sites``; the run folder, as of a run in one process.

    Raises:
        ConfigError: before anything is written or sent.
        PolicyRefused: who asks may not submit.
        QuorumLost, JobEnded: the job is over without a model; the folder tells how far it came.
    """
    terms = terms_for(run, sites)
    with _logged_in(log_in) as server:
        if not resume:
            refuse_too_few(server, terms)
        open_run_folder(out, run, resume)
        if is_finished(out):
            return out
    with run_log(out, listeners) as log:
        copy = Copy(out, log)
        job = _job(run, terms, out, log_in, copy, say) if resume else _begin(terms, out, log_in)
        if job is not None:
            _follow(job, out, log_in, copy, say)
        with _logged_in(log_in) as server:
            facts = facts_of(server.meta(job_of(out) or ""))
            with remains_of(server, facts) as remains:
                bring_home(remains, terms, out, copy)
                write_job(out, facts.job, facts.status)
    return out


def _begin(terms: Terms, out: Path, log_in: LogIn) -> str:
    with _logged_in(log_in) as server:
        job = hand_in(server, terms)
    write_job(out, job)
    return job


def _job(
    run: RunConfig, terms: Terms, out: Path, log_in: LogIn, copy: Copy, say: Say
) -> str | None:
    """The job to follow: the one that still runs, a new one, or none where the last did well."""
    earlier = job_of(out)
    if earlier is None:
        return _begin(terms, out, log_in)
    with _logged_in(log_in) as server:
        facts = facts_of(server.meta(earlier))
        if facts.stage != OVER:
            say(f"job {earlier} still runs; it is followed, and no other submitted")
            return earlier
        if _ended_well(server, facts, copy):
            return None
        refuse_too_few(server, terms)
    # of the run file itself, for the terms name no topology's file
    return _begin(terms_for(run, terms.sites, True, recorded(out)), out, log_in)


def _ended_well(server: Server, facts: JobFacts, copy: Copy) -> bool:
    """Whether the job has left a result; what it told at its end is told here now."""
    if facts.status == "FINISHED:FAILED_TO_RUN":
        return False
    with remains_of(server, facts) as remains:
        if remains.run_folder is not None and (remains.run_folder / EVENTS).exists():
            copy.all_of(read_events(remains.run_folder / EVENTS))
        return remains.outcome.done


def _follow(job: str, out: Path, log_in: LogIn, copy: Copy, say: Say) -> None:
    """Until the job is over. Raises JobEnded, QuorumLost where it has failed."""
    try:
        view = watch_job(log_in, job, say, (copy,))
    except KeyboardInterrupt:
        say(
            f"job {job} goes on at the sites; come back to it with --resume, or end it with "
            f"`fedefm job abort {job}`"
        )
        raise
    if view.outcome is not None and not view.outcome.done:
        write_job(out, job, view.facts.status if view.facts else "")
        raise _error(view.outcome)


def _error(outcome: Outcome) -> QuorumLost | JobEnded:
    kind = QuorumLost if outcome.error == QuorumLost.__name__ else JobEnded
    return kind(outcome.sentence)


@contextmanager
def _logged_in(log_in: LogIn) -> Iterator[Server]:
    server = log_in()
    try:
        yield server
    finally:
        server.close()

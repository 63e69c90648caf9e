"""A run file handed in as a job: checked here first, and looked after until it is taken."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fedefm.errors import ConfigError
from nvflare_jobs.admin.job_facts import WAITING, JobFacts, facts_of
from nvflare_jobs.admin.server import Server
from nvflare_jobs.jobs.pretrain import export_tracked_job
from nvflare_jobs.parties.terms import Terms
from provisioning.names import nearest

POLL_S = 2.0


def hand_in(server: Server, terms: Terms) -> str:
    """FLARE's id of the job that ``terms`` make."""
    with tempfile.TemporaryDirectory(prefix="fedefm-") as scratch:
        return server.submit(export_tracked_job(terms, Path(scratch)))


def refuse_too_few(server: Server, terms: Terms) -> list[str]:
    """The sites of ``terms`` that are not connected now.

    Raises ConfigError where so many are away that the server could not begin.
    """
    connected = server.connected_sites()
    away = [site for site in terms.sites if site not in connected]
    here = len(terms.sites) - len(away)
    if here < terms.needed:
        raise ConfigError(
            f"{here} of the job's {len(terms.sites)} sites are connected to the server, and it "
            f"needs {terms.needed}: {_listed(away)} not connected (connected: "
            f"{', '.join(connected) or 'nobody'}){_meant(away, terms, connected)}; check the "
            "names, let the sites be started, or submit with --queue, which lets the server wait "
            "for them for a while"
        )
    return away


def wait_until_taken(
    server: Server,
    job: str,
    limit_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> JobFacts:
    """How the job stands once it runs or is refused, or when ``limit_s`` is over."""
    until = clock() + limit_s
    while True:
        facts = facts_of(server.meta(job))
        if facts.stage != WAITING or clock() >= until:
            return facts
        sleep(POLL_S)


def _meant(away: Sequence[str], terms: Terms, connected: Sequence[str]) -> str:
    free = [site for site in connected if site not in terms.sites]
    near = {site: nearest(site, free) for site in away}
    told = [f"{found} for {site}" for site, found in near.items() if found]
    return f" (do you mean {' and '.join(told)}?)" if told else ""


def _listed(away: Sequence[str]) -> str:
    return f"{', '.join(away)} {'is' if len(away) == 1 else 'are'}"

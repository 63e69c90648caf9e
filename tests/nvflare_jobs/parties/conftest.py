"""A job without FLARE: the conductor, and every site in a thread of its own."""

import itertools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fedefm.config import RunConfig
from fedefm.errors import ProtocolError
from fedefm.train.exchange import SERVER
from fedefm.train.message import Message, Postbox
from nvflare_jobs.parties.conductor import Conductor
from nvflare_jobs.parties.gathering import Gathering, Patience, no_patience
from nvflare_jobs.parties.hiding import hiding
from nvflare_jobs.parties.identities import Credentials, PartiesRoot
from nvflare_jobs.parties.mailbox import Mailbox
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.site_work import SiteWork, tell_reason
from nvflare_jobs.parties.terms import Terms, terms_for
from privacy.identity import ThrowAwayRoot

JOBS = itertools.count(1)


class Job:
    """Parties of one job in one process; ``dead`` ones neither answer nor receive.

    Of those ``known_dead`` FLARE would know it.
    """

    def __init__(self, terms: Terms, sites_folder: Path, folder: Path) -> None:
        self.id = f"job-{next(JOBS)}"
        self.terms, self.folder = terms, folder
        self.sites_folder, self.states = sites_folder, folder.parent / "states"
        self.dead: set[str] = set()
        self.known_dead = self.dead
        self.lose: Callable[[Message], bool] = lambda message: False
        self.before: Callable[[str, str, Mapping[str, Any]], None] = lambda site, task, data: None
        self.sent: list[Message] = []
        self.credentials = self._credentials()
        self.parties = {name: self._party(name) for name in (*terms.sites, SERVER)}
        self.works: dict[str, SiteWork] = {}
        self.building = threading.Lock()

    def conduct(self) -> None:
        with ThreadPoolExecutor(len(self.terms.sites)) as self._threads:
            server, states = self.parties[SERVER], self.states / SERVER / self.terms.run.name
            own, told = self.credentials.get(SERVER), server.refused.append
            secrecy = hiding(own, None, states, self.terms, self.id, told)
            Conductor(self.terms, self.folder, states, server, self._ask, secrecy).conduct(
                where="simulator", encrypted=False
            )

    def _credentials(self) -> dict[str, Credentials]:
        """Of a root that nobody keeps, where the job needs some."""
        if self.terms.run.privacy.secagg is None:
            return {}
        issuer = ThrowAwayRoot()
        root = PartiesRoot(issuer.root.certificate, SERVER)
        return {n: Credentials(issuer.issue(n), root) for n in (*self.terms.sites, SERVER)}

    def _party(self, name: str) -> Party:
        own = self.credentials.get(name)
        postbox = Postbox(name, self.terms.run.name, self.id, seal=own.seal if own else None)
        return Party(postbox, Mailbox(), self._send, self.terms.run.federation.deadline_s)

    def _send(self, receiver: str, message: Message) -> None:
        self.sent.append(message)
        if self.dead & {receiver, message.header.sender} or self.lose(message):
            raise ProtocolError("not taken (lost)")
        self.parties[receiver].receive(Message.from_bytes(message.to_bytes()))

    def _ask(
        self,
        task: str,
        numbers: Mapping[str, Any],
        awaited: frozenset[str],
        limit_s: float,
        enough: int | None = None,
        patience_s: Patience = no_patience,
        meanwhile: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        gathering = Gathering()

        def do(site: str) -> None:
            answer = self._answer(site, task, numbers)
            if site not in self.dead:
                gathering.add(site, answer)

        living = [site for site in self.terms.sites if site not in self.dead]
        asked = [self._threads.submit(do, site) for site in living]
        if meanwhile is not None:
            meanwhile()
        answers = gathering.wait(awaited, limit_s, enough, patience_s, self.known_dead.__contains__)
        for done in asked:
            if done.done():
                done.result()
        return answers

    def _answer(self, site: str, task: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self.before(site, task, numbers)
            return self._work(site).answer(task, numbers, self.parties[site])
        except Exception as error:
            return {"refused": tell_reason(error)}

    def _work(self, site: str) -> SiteWork:
        with self.building:  # a model's seed is the process's; real sites have one each
            if site not in self.works:
                file = self.sites_folder / site / "fedefm_site.yaml"
                state = self.states / site / self.terms.run.name
                own = self.credentials.get(site)
                self.works[site] = SiteWork(
                    site, self.terms, file, state, False, True, self.id, own
                )
            return self.works[site]


@pytest.fixture
def job_of(hospitals: Path, tmp_path: Path) -> Callable[..., Job]:
    """``job_of(run, folder="run", resume=False)``: all jobs of a test share the sites' states."""

    def make(
        run: RunConfig, folder: str = "run", resume: bool = False, at: Path = hospitals
    ) -> Job:
        sites = sorted(path.name for path in at.iterdir())
        return Job(terms_for(run, sites, resume), at, tmp_path / folder)

    return make

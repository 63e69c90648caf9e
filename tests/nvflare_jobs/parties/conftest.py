"""A job without FLARE: the conductor, and every site in a thread of its own."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from fedefm.config import RunConfig
from fedefm.errors import ProtocolError
from fedefm.train.exchange import SERVER
from fedefm.train.message import Message, Postbox
from nvflare_jobs.parties.conductor import Conductor, Patience, no_patience
from nvflare_jobs.parties.mailbox import Mailbox
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.site_work import SiteWork, tell_reason
from nvflare_jobs.parties.terms import Terms, terms_for


class Job:
    """Parties of one job in one process; ``dead`` ones neither answer nor receive."""

    def __init__(self, terms: Terms, sites_folder: Path, folder: Path) -> None:
        self.terms, self.folder = terms, folder
        self.sites_folder, self.states = sites_folder, folder.parent / "states"
        self.dead: set[str] = set()
        self.lose: Callable[[Message], bool] = lambda message: False
        self.before: Callable[[str, str, Mapping[str, Any]], None] = lambda site, task, data: None
        self.sent: list[Message] = []
        self.parties = {name: self._party(name) for name in (*terms.sites, SERVER)}
        self.works: dict[str, SiteWork] = {}
        self.building = threading.Lock()

    def conduct(self) -> None:
        with ThreadPoolExecutor(len(self.terms.sites)) as self._threads:
            server, states = self.parties[SERVER], self.states / SERVER
            Conductor(self.terms, self.folder, states, server, self._ask).conduct(
                where="simulator", encrypted=False
            )

    def _party(self, name: str) -> Party:
        postbox = Postbox(name, self.terms.run.name, "job-1")
        return Party(postbox, Mailbox(), self._send, self.terms.run.federation.deadline_s)

    def _send(self, receiver: str, message: Message) -> None:
        self.sent.append(message)
        if receiver in self.dead or self.lose(message):
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
        living = [site for site in self.terms.sites if site not in self.dead]
        asked = {s: self._threads.submit(self._answer, s, task, numbers) for s in living}
        if meanwhile is not None:
            meanwhile()
        wait(asked.values(), timeout=limit_s)
        return {site: answer.result() for site, answer in asked.items()}

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
                state = self.states / site
                self.works[site] = SiteWork(site, self.terms, file, state, False, True)
            return self.works[site]


@pytest.fixture
def job_of(hospitals: Path, tmp_path: Path) -> Callable[..., Job]:
    """``job_of(run, folder="run", resume=False)``: all jobs of a test share the sites' states."""

    def make(run: RunConfig, folder: str = "run", resume: bool = False) -> Job:
        sites = ("hosp-a", "hosp-b", "hosp-c")
        return Job(terms_for(run, sites, resume), hospitals, tmp_path / folder)

    return make

"""A job without FLARE: the conductor, and every site in a thread of its own."""

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from fedefm.config import RunConfig
from fedefm.errors import ProtocolError
from fedefm.train.exchange import SERVER
from fedefm.train.header import Header
from fedefm.train.message import Message, Postbox
from fedefm.train.outline import read_outline
from nvflare_jobs.parties import places
from nvflare_jobs.parties.child import Order
from nvflare_jobs.parties.conductor import Conductor
from nvflare_jobs.parties.gathering import Gathering, Patience, no_patience
from nvflare_jobs.parties.hiding import hiding
from nvflare_jobs.parties.identities import Credentials, PartiesRoot
from nvflare_jobs.parties.mailbox import Mailbox
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.reasons import ALL, tell_reason
from nvflare_jobs.parties.site_work import SiteWork
from nvflare_jobs.parties.supervised import Supervised
from nvflare_jobs.parties.terms import Terms, terms_for
from privacy.identity import ThrowAwayRoot

sys.path.insert(0, str(Path(__file__).parent))  # what the tests of this folder share
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
        self.between: Callable[[str, Mapping[str, Any]], None] = lambda task, data: None
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
        self.issuer = issuer = ThrowAwayRoot()
        root = PartiesRoot(issuer.root.certificate, SERVER)
        return {n: Credentials(issuer.issue(n), root) for n in (*self.terms.sites, SERVER)}

    def identities(self, folder: Path) -> Path:
        """The same credentials in files."""
        self.issuer.save(folder)
        return folder

    def _party(self, name: str) -> Party:
        own = self.credentials.get(name)
        seal, wire = own.seal if own else None, self.terms.run.federation.wire
        postbox = Postbox(name, self.terms.run.name, self.id, seal=seal, wire=wire)
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
        self.between(task, numbers)  # while nobody is at work, and nothing on its way
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
            return {"refused": tell_reason(error, ALL)}

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


class KilledJob(Job):
    """A job whose sites train in real processes of their own; ``kill_at`` says when one is killed.

    It is asked with the site and the header of each message that this is about to send or take.
    """

    def __init__(self, terms: Terms, sites_folder: Path, folder: Path) -> None:
        super().__init__(terms, sites_folder, folder)
        self.kill_at: Callable[[str, Header], bool] = lambda site, header: False
        self.killed: list[Header] = []
        self.text = terms.model_dump_json()
        self.sites = {name: self.site(name) for name in terms.sites}

    def conduct(self) -> None:
        for site in self.sites.values():
            site.start()
        try:
            super().conduct()
        finally:
            for site in self.sites.values():
                site.close()

    def site(self, name: str) -> Supervised:
        """What FLARE's job process of a site is to its training."""
        kit = str(self.folder.parent)
        order = Order(name, self.text, self.id, kit, kit, False)
        return Supervised(order, self.folder.parent / f"{name}.log", self._deliver)

    def _send(self, receiver: str, message: Message) -> None:
        self._deliver(receiver, message.to_bytes())

    def _deliver(self, receiver: str, data: bytes) -> None:
        header = read_outline(data).header
        for site in (header.sender, receiver):
            if site in self.sites and self.kill_at(site, header):
                pid = self.sites[site].pid
                if pid is not None:
                    self.killed.append(header)
                    os.kill(pid, signal.SIGKILL)
        if receiver in self.sites:
            self.sites[receiver].take(header, data)
        else:
            self.parties[receiver].receive(Message.from_bytes(data))

    def _answer(self, site: str, task: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self.before(site, task, numbers)
            return self.sites[site].ask(task, numbers, lambda: False)
        except Exception as error:
            return {"refused": tell_reason(error, ALL)}


@pytest.fixture
def killed_job_of(
    hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., KilledJob]:
    """``killed_job_of(run)``: in a simulation of its own."""

    def make(run: RunConfig, at: Path = hospitals) -> KilledJob:
        sites = sorted(path.name for path in at.iterdir())
        monkeypatch.setenv(places.SITES_DIR, str(at))
        monkeypatch.setenv(places.STATE_DIR, str(tmp_path / "states"))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        job = KilledJob(terms_for(run, sites), at, tmp_path / "run")
        if run.privacy.secagg is not None:
            monkeypatch.setenv(places.IDENTITIES_DIR, str(job.identities(tmp_path / "identities")))
        return job

    return make


@pytest.fixture
def job_of(hospitals: Path, tmp_path: Path) -> Callable[..., Job]:
    """``job_of(run, folder="run", resume=False)``: all jobs of a test share the sites' states."""

    def make(
        run: RunConfig, folder: str = "run", resume: bool = False, at: Path = hospitals
    ) -> Job:
        sites = sorted(path.name for path in at.iterdir())
        return Job(terms_for(run, sites, resume), at, tmp_path / folder)

    return make


@pytest.fixture
def start(
    tmp_path: Path, left_behind: Callable[[], list[psutil.Process]]
) -> Iterator[Callable[..., Supervised]]:
    """``start(behavior="")``: a tiny process in the place of a training one."""
    from tiny_process import starting  # a file of this folder

    yield from starting(tmp_path)
    assert not [p for p in left_behind() if p.status() != psutil.STATUS_ZOMBIE]

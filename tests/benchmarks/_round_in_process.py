"""One round of a federation in one process, on a clock for each site.

All sites take turns on one core, while those of a real federation work at once. So each has a clock
of its own, which runs while it is its turn, and rests as long as its emulated training does. Who
waits for a message waits until its sender's clock has come there; the way takes no time. A round is
over when the last clock stops. That is the round that FLARE is compared with: as much work at each
site, and a network that costs nothing.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from _round_task import kinds_of

from fedefm.config import RunConfig
from fedefm.train.assemble import (
    build_server,
    build_site,
    find_manifest,
    load_data,
    plan_exchanges,
)
from fedefm.train.exchange import SERVER, Exchange, Result, RoundStats, Steps
from fedefm.train.message import Tensors
from fedefm.train.rounds import algorithm_for
from fedefm.train.secrecy import Secrecy
from fedefm.train.simulate import Network, Outcome
from fedefm.train.site import Site
from fedefm.train.state import save_state
from nvflare_jobs.secure import BySecureSums


class Clocks:
    """Seconds that each party was busy or waited, in a round."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.at: dict[str, float] = defaultdict(float)
        self.sent: dict[tuple[str, str, str], float] = {}  # by sender, receiver and phase
        self._turn, self._since = "", 0.0

    def turn(self, party: str) -> None:
        """It is the turn of ``party`` from now on."""
        self.stop()
        self._turn, self._since = party, time.perf_counter()

    def stop(self) -> None:
        if self._turn:
            self.at[self._turn] += time.perf_counter() - self._since
        self._turn = ""

    def rest(self, seconds: float) -> None:
        """The party whose turn it is would be busy for ``seconds``."""
        self.at[self._turn] += seconds


class ClockedNetwork(Network):
    """Tells the clocks whose turn it is; see ``_Round._advance`` in ``fedefm.train.simulate``."""

    def __init__(self, clocks: Clocks, run: RunConfig, secrecy: Mapping[str, Secrecy]) -> None:
        seals = {name: each.seal for name, each in secrecy.items()}
        deadline_s, wire = run.federation.deadline_s, run.federation.wire
        super().__init__(run.name, run.name, deadline_s, seals=seals, wire=wire)
        self._clocks = clocks

    def crash_if_asked(self, party: str, round_index: int) -> None:
        self._clocks.turn(party)

    def collect(
        self, receiver: str, round_index: int, exchange: Exchange, outcome: Outcome[Result]
    ) -> dict[str, Tensors]:
        self._clocks.turn(receiver)
        clock, sent = self._clocks.at, self._clocks.sent
        came = [sent[sender, receiver, exchange.phase] for sender in exchange.expect]
        clock[receiver] = max([clock[receiver], *came])
        return super().collect(receiver, round_index, exchange, outcome)

    def send(self, sender: str, round_index: int, exchange: Exchange) -> int:
        size = super().send(sender, round_index, exchange)
        self._clocks.stop()
        for receiver in exchange.outgoing:
            self._clocks.sent[sender, receiver, exchange.phase] = self._clocks.at[sender]
        return size


class RoundsInProcess:
    """A run's rounds, with what a site does around them: undo, average, state on the disk."""

    def __init__(self, run: RunConfig, sites_folder: Path, state_folder: Path) -> None:
        names = tuple(sorted(path.name for path in sites_folder.iterdir()))
        plan, self.clocks = plan_exchanges(run, names), Clocks()
        secrecy = _secrecy(run, names)
        self._sites: dict[str, Site] = {
            name: build_site(
                name,
                load_data(
                    name, find_manifest(sites_folder / name / "fedefm_site.yaml", run.dataset), run
                ).train,
                run,
                plan,
                secrecy=secrecy.get(name),
            )
            for name in names
        }
        self._server = build_server(run, plan, secrecy=secrecy.get(SERVER))
        self._algorithm = algorithm_for(run, plan)
        self._network = ClockedNetwork(self.clocks, run, secrecy)
        self._state_folder, self._rounds = state_folder, run.federation.rounds

    def play(self) -> dict[str, list[dict[str, float]]]:
        """By kind of round and in their order: seconds, and seconds of all sites in turn."""
        found: dict[str, list[dict[str, float]]] = defaultdict(list)
        for number, kind in enumerate(kinds_of(self._rounds)):
            found[kind].append(self._play(number))
        return found

    def _play(self, number: int) -> dict[str, float]:
        clocks, before = self.clocks, {}
        clocks.begin()
        for name, site in self._sites.items():
            clocks.turn(name)
            before[name] = site.state()
        clocks.stop()
        parties: dict[str, Steps[RoundStats]] = {
            name: self._algorithm.site_round(site, number) for name, site in self._sites.items()
        }
        outcomes = self._network.run_round(parties, number)
        clocks.stop()
        _refuse_trouble(outcomes)
        for name, site in self._sites.items():
            clocks.turn(name)
            site.finish_round()
            save_state(self._state_folder / name, number + 1, {name: site.state()})
        clocks.stop()
        return {
            "seconds": max(clocks.at.values()),
            "bytes": sum(outcome.sent_bytes for outcome in outcomes.values()),
        }


def _secrecy(run: RunConfig, names: tuple[str, ...]) -> dict[str, Secrecy]:
    if run.privacy.secagg is None:
        return {}
    hide = BySecureSums(None)
    return {party: hide(party, None, run, names, run.name, print) for party in (*names, SERVER)}


def _refuse_trouble(outcomes: Mapping[str, Outcome[RoundStats]]) -> None:
    for name, outcome in outcomes.items():
        if outcome.error is not None:
            raise outcome.error
        if outcome.missing or outcome.rejected:
            raise AssertionError(f"not a sound round at {name}: {outcome}")


def play_in_process(
    run: RunConfig, sites_folder: Path, state_folder: Path, clocked: list[Clocks]
) -> dict[str, list[dict[str, float]]]:
    """``clocked`` gets the clocks that emulated training must move."""
    torch.set_num_threads(1)
    rounds = RoundsInProcess(run, sites_folder, state_folder)
    clocked[:] = [rounds.clocks]
    return rounds.play()

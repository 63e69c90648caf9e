"""A whole run in one process: rounds, faults, quorum, checkpoints and what is told about them.

``Federation`` needs no files: it takes sites, and gives the global model. Reading run files and
writing run folders is done around it (``fedefm.train.run``), so a notebook or a benchmark can use
it directly.
"""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedefm.config import RunConfig
from fedefm.data.dataset import FrameDataset
from fedefm.events import EventLog
from fedefm.model.weights import Weights, load_weights
from fedefm.train.assemble import Plan, refuse_unprotected
from fedefm.train.exchange import SERVER, RoundStats, Steps
from fedefm.train.pooled import Measured
from fedefm.train.pretext import pretext_of, product_of
from fedefm.train.protection import Unprotected
from fedefm.train.rounds import Algorithm, Measurement, algorithm_for
from fedefm.train.secrecy import Secrecy
from fedefm.train.server import Server
from fedefm.train.simulate import Faults, Network, Outcome
from fedefm.train.site import Site, mean_weights
from fedefm.train.state import PartyState, save_state
from fedefm.train.telling import (
    check_quorum,
    close_round,
    tell_measured,
    tell_rejected,
    tell_score,
    tell_server,
    tell_site,
    tell_verdict,
    unheard,
    without_own_numbers,
)


@dataclass(frozen=True)
class Hidden:
    """A party's secrecy, and the troubles with it that were not told yet."""

    secrecy: Secrecy
    troubles: list[str]


class Federation:
    """Drives the sites of one run, round by round.

    A site that throws in a round is put back to where the round began, named in the log, and takes
    part again in the next one. Raises QuorumLost where fewer than the run file's share took part.

    An ``algorithm`` that is handed in takes the place of the run file's, and must keep to its plan:
    no more steps at a site, the same sums, and of those who are asked.
    """

    def __init__(
        self,
        run: RunConfig,
        plan: Plan,
        sites: Mapping[str, Site],
        server: Server,
        log: EventLog | None = None,
        faults: Faults = Faults(),  # noqa: B008 - frozen
        state_folder: Path | None = None,
        validation: Mapping[str, FrameDataset] | None = None,
        hidden: Mapping[str, Hidden] | None = None,
        algorithm: Algorithm | None = None,
    ) -> None:
        self.run, self.plan, self.sites, self.server = run, plan, sites, server
        self.finished_rounds = 0
        self.sent_bytes = 0
        self._algorithm = algorithm_for(run, plan, algorithm)
        self._scale = product_of(run).scale
        for name, site in sites.items():
            private = not (site.measures or isinstance(site.release, Unprotected))
            refuse_unprotected(run, name, private)
        releases = {name: site.release for name, site in sites.items()}
        self._hidden = hidden or {}
        seals = {name: one.secrecy.seal for name, one in self._hidden.items()}
        deadline, wire = run.federation.deadline_s, run.federation.wire
        self._network = Network(run.name, run.name, deadline, faults, releases, seals, wire)
        self._log = log or EventLog()
        self._state_folder = state_folder
        self._validation = validation or {}
        anybody = next(iter(sites.values())).model  # what is not trained is equal at all sites
        whole = run.stagewise is None  # else nobody but a site has a head for its task
        self._global = copy.deepcopy(anybody) if validation and whole else None

    def train(self) -> None:
        """All rounds that are left."""
        while self.finished_rounds < self.run.federation.rounds:
            self.play_round(self.finished_rounds)

    def play_round(self, round_index: int) -> None:
        """One round of every site, and of the server where it has a part."""
        self._log.emit("round_started", round=round_index)
        started = time.perf_counter()
        before = {name: site.state() for name, site in self.sites.items()}
        outcomes = self._network.run_round(self._parties(round_index), round_index)
        self._hear_troubles(outcomes)
        missing = self._tell_server(round_index, outcomes.pop(SERVER, None))
        stats = {name: outcome.result for name, outcome in outcomes.items()}
        for name, outcome in outcomes.items():
            if outcome.error is not None:
                self.sites[name].load_state(before[name])
                missing[name] = f"{type(outcome.error).__name__}: {outcome.error}"
            else:
                self.sites[name].finish_round()
            self.sent_bytes += outcome.sent_bytes
            if self._algorithm.measurement is not None:
                outcome.result = without_own_numbers(outcome.result)
            asked = name in self.plan.asked(round_index)
            tell_site(self._log, round_index, name, outcome, missing.get(name), asked)
        self._close_round(round_index, missing, time.perf_counter() - started, stats)

    def global_model(self) -> Weights | None:
        """The mean of the sites' averages as it stands: for measuring, not an exchange."""
        if self._algorithm.publication is None:
            return None
        if self._algorithm.server_round is not None:
            return self.server.average or self.server.weights
        return mean_weights([site.average or site.weights() for site in self.sites.values()])

    def publish(self) -> Weights | None:
        """The last exchange: the global model, None where the scenario has none.

        Raises QuorumLost where it would be the model of fewer sites than the run file demands.
        """
        publication = self._algorithm.publication
        if publication is None:
            return None
        parties: dict[str, Steps[Weights | None]] = {
            name: publication.site(site) for name, site in self.sites.items()
        }
        parties[SERVER] = publication.server(self.server)
        federation = self.run.federation
        outcomes = self._network.run_round(parties, federation.rounds)
        self._hear_troubles(outcomes)
        sent = sum(outcome.sent_bytes for outcome in outcomes.values())
        self.sent_bytes += sent
        outcome = outcomes[SERVER]
        missing = unheard(outcome)
        for name, one in outcomes.items():
            tell_rejected(self._log, federation.rounds, name, one)
        self._log.emit("published", round=federation.rounds, sent_bytes=sent, missing=dict(missing))
        if outcome.error is not None:
            raise outcome.error
        check_quorum("the global model", list(self.sites), missing, federation.quorum)
        tell_verdict(self._log, federation.rounds - 1, self.server.verdict, self._scale)
        return outcome.result

    def states(self) -> dict[str, PartyState]:
        """What a checkpoint holds, by party."""
        held: dict[str, PartyState] = {name: site.state() for name, site in self.sites.items()}
        held[SERVER] = self.server.state()
        return held

    def resume(self, finished_rounds: int, states: Mapping[str, PartyState]) -> None:
        """Go on after ``finished_rounds``, as if nothing had happened."""
        for name, site in self.sites.items():
            site.load_state(states[name])
        self.server.load_state(states[SERVER])
        self.finished_rounds = finished_rounds

    def _parties(self, round_index: int) -> dict[str, Steps[RoundStats]]:
        parties = {
            name: self._algorithm.site_round(site, round_index) for name, site in self.sites.items()
        }
        if self._algorithm.server_round is not None:
            parties[SERVER] = self._algorithm.server_round(self.server, round_index)
        return parties

    def _tell_server(self, round_index: int, outcome: Outcome[RoundStats] | None) -> dict[str, str]:
        """The server's part, where it has one, and whom it did not hear.

        What it throws ends the run: nobody replaces it.
        """
        if outcome is None:
            return {}
        if outcome.error is not None:
            raise outcome.error
        self.sent_bytes += outcome.sent_bytes
        tell_server(self._log, round_index, outcome)
        return unheard(outcome)

    def _hear_troubles(self, outcomes: Mapping[str, Outcome[Any]]) -> None:
        """What the secure sums of the round had to complain of counts as refused by the party."""
        for name, outcome in outcomes.items():
            if name in self._hidden:
                outcome.rejected += self._hidden[name].troubles
                self._hidden[name].troubles.clear()

    def _close_round(
        self,
        round_index: int,
        missing: Mapping[str, str],
        seconds: float,
        stats: Mapping[str, RoundStats | None],
    ) -> None:
        close_round(
            self._log,
            round_index,
            list(self.sites),
            self.plan.asked(round_index),
            missing,
            seconds,
            self.run.federation.quorum,
        )
        self.finished_rounds = round_index + 1
        if self.run.measures_after(round_index):
            if self._algorithm.measurement is None:
                self._evaluate(round_index)
            else:
                self._measure(self._algorithm.measurement, round_index, stats)
        if self._state_folder is not None:
            save_state(self._state_folder, self.finished_rounds, self.states())
            self._log.emit("checkpoint", round=round_index)

    def _measure(
        self, measurement: Measurement, round_index: int, stats: Mapping[str, RoundStats | None]
    ) -> None:
        """What the sites measured in this round, told as a sum."""
        parties: dict[str, Steps[Measured | None]] = {
            name: measurement.site(site, round_index, stats[name])
            for name, site in self.sites.items()
        }
        parties[SERVER] = measurement.server(self.server, round_index)
        outcomes = self._network.run_round(parties, round_index)
        self._hear_troubles(outcomes)
        for name, outcome in outcomes.items():
            if outcome.error is not None:
                outcome.rejected.append(f"{type(outcome.error).__name__}: {outcome.error}")
            tell_rejected(self._log, round_index, name, outcome)
        server = outcomes[SERVER]
        if server.error is not None:
            raise server.error
        sent = sum(outcome.sent_bytes for outcome in outcomes.values())
        self.sent_bytes += sent
        if server.result is not None:
            tell_measured(self._log, round_index, server.result, self._scale, sent)

    def _evaluate(self, round_index: int) -> None:
        """Each site's model on its own validation images, and the mean model on all of them."""
        for name, data in self._validation.items():
            yardstick = pretext_of(self.run, name).yardstick
            score = yardstick.over(self.sites[name].model, {name: data})
            tell_score(self._log, round_index, name, yardstick, score, len(data), "validation")
        weights = self.global_model()
        if self._global is not None and weights is not None:
            load_weights(self._global, weights)
            images = sum(len(dataset) for dataset in self._validation.values())
            score = yardstick.over(self._global, self._validation)
            tell_score(self._log, round_index, "global", yardstick, score, images, "validation")

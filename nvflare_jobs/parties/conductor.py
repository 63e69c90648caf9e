"""What the server does in a job: asks the sites, round by round, and writes down what they tell.

Knows nothing of FLARE. In the decentralized scenario the server holds no model until the last
exchange; it learns who took part, and the numbers that each site's own policy lets out.
"""

import shutil
import time
from pathlib import Path
from typing import Any

from fedefm.events import EventLog, Listener
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.weights import Weights, load_weights
from fedefm.train.assemble import build_model, build_server
from fedefm.train.exchange import SERVER
from fedefm.train.pretext import product_of
from fedefm.train.rounds import Measurement, algorithm_for
from fedefm.train.run_files import MODEL
from fedefm.train.run_folder import (
    open_run_folder,
    run_log,
    tell_start,
    write_result,
)
from fedefm.train.secrecy import Secrecy
from fedefm.train.server_side import ServerSide
from fedefm.train.simulate import Outcome
from fedefm.train.state import finished_rounds, load_state, save_state
from fedefm.train.telling import (
    check_quorum,
    close_round,
    tell_measured,
    tell_server,
    tell_verdict,
)
from fedefm.train.verdict import pooled_metrics
from nvflare_jobs.parties.accuracy import pooled, tell_global, tell_own
from nvflare_jobs.parties.answers_told import sent_by, tell_answer, tell_holdings, tell_troubles
from nvflare_jobs.parties.common_state import newest_common
from nvflare_jobs.parties.deadlines import deadlines_of
from nvflare_jobs.parties.gathering import Answers, Asking
from nvflare_jobs.parties.heads import HEADS_FILE, KnownHeads
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.privacy_told import PrivacyTold
from nvflare_jobs.parties.roll_call import RollCall
from nvflare_jobs.parties.tasks import MEASURE, PUBLISH, ROUND
from nvflare_jobs.parties.terms import Terms

SIMULATOR = "simulator"  # all sites are folders of one machine


class Conductor:
    """Conducts one job. ``folder`` becomes its run folder, as of a run in one process."""

    def __init__(
        self,
        terms: Terms,
        folder: Path,
        state_folder: Path,
        party: Party,
        ask: Asking,
        secrecy: Secrecy | None = None,
        listeners: tuple[Listener, ...] = (),
        server_side: ServerSide = ServerSide(),  # noqa: B008 - frozen
    ) -> None:
        self.terms, self.run, self.plan = terms, terms.run, terms.plan()
        self._folder, self._state_folder = folder, state_folder
        self._listeners = listeners
        self._deadlines = deadlines_of(terms.run, self.plan)
        start, curator = server_side.start, server_side.curator
        self._server = build_server(terms.run, self.plan, start, secrecy, curator)
        self._algorithm = algorithm_for(terms.run, self.plan)
        self._scale = product_of(terms.run).scale
        # no run's name begins with a dot, so no run's state folder can be in the way
        heads = KnownHeads(state_folder.parent / f".{HEADS_FILE}", folder / HEADS_FILE)
        self._roll = RollCall(terms, self._deadlines, party, ask, heads)
        self._privacy = PrivacyTold()

    def conduct(self, where: str, encrypted: bool) -> None:
        """The whole job. Raises QuorumLost where too few sites take part."""
        open_run_folder(self._folder, self.run, resume=False)
        with run_log(self._folder, self._listeners) as log:
            ready = self._roll.gather()
            begin_at = self._newest_common(ready) if self.terms.resume else 0
            if not begin_at:  # an older run of this name may have come further
                shutil.rmtree(self._state_folder, ignore_errors=True)
            elif self._algorithm.server_round is not None:
                self._load_server(begin_at)
            tell_start(log, self.run, self.plan, where, begin_at)
            tell_holdings(log, ready)
            for round_index in range(begin_at, self.run.federation.rounds):
                self._play_round(round_index, begin_at, log)
            metrics = self._publish(log)
            simulated, sites = where == SIMULATOR, self.terms.sites
            write_result(
                self._folder, self.run, sites, metrics, encrypted, simulated, self._privacy.by_site
            )

    def _newest_common(self, ready: Answers) -> int:
        saved = {site: {int(n) for n in a.get("saved", ())} for site, a in ready.items()}
        if self._algorithm.server_round is not None:
            saved[SERVER] = set(finished_rounds(self._state_folder))
        return newest_common(saved, self.terms.recorded, self.terms.needed)

    def _load_server(self, rounds: int) -> None:
        saved = load_state(self._state_folder, rounds)
        if saved is not None:
            self._server.load_state(saved[1][SERVER])

    def _play_round(self, round_index: int, begin_at: int, log: EventLog) -> None:
        log.emit("round_started", round=round_index)
        started = time.perf_counter()
        server_round = self._algorithm.server_round
        steps = server_round(self._server, round_index) if server_round else None
        most = self._deadlines.round
        answers, server = self._roll.ask(ROUND, round_index, steps, begin_at, most)
        missing = self._tell_round(log, round_index, answers, server)
        federation, seconds = self.run.federation, time.perf_counter() - started
        sites, asked = self.terms.sites, self.plan.asked(round_index)
        close_round(log, round_index, sites, asked, missing, seconds, federation.quorum)
        tell_own(log, round_index, answers, self._scale)
        measurement = self._algorithm.measurement
        if measurement is not None and self.run.measures_after(round_index):
            self._measure(measurement, round_index, begin_at, log)
        if steps is not None:
            save_state(self._state_folder, round_index + 1, {SERVER: self._server.state()})
        log.emit("checkpoint", round=round_index)

    def _tell_round(
        self, log: EventLog, round_index: int, answers: Answers, server: Outcome[Any]
    ) -> dict[str, str]:
        """Write down what everybody did in the round; who is missing in it, and why."""
        missing = self._roll.missing(server)
        if self._algorithm.server_round is not None:
            tell_server(log, round_index, server)
        for site, answer in answers.items():
            self._privacy.planned(log, site, answer)
            asked = site in self.plan.asked(round_index)
            reason = tell_answer(log, round_index, site, answer, asked)
            if reason:
                missing[site] = reason
        return {site: missing[site] for site in self.terms.sites if site in missing}

    def _measure(
        self, measurement: Measurement, round_index: int, begin_at: int, log: EventLog
    ) -> None:
        """What the sites measured in the round, told as one sum over all of them."""
        steps, most = measurement.server(self._server, round_index), self._deadlines.metrics
        answers, server = self._roll.ask(MEASURE, round_index, steps, begin_at, most)
        tell_troubles(log, round_index, answers, server)
        if server.result is not None:
            sent = server.sent_bytes + sent_by(answers)
            tell_measured(log, round_index, server.result, self._scale, sent)

    def _publish(self, log: EventLog) -> dict[str, float | int | None]:
        """The last exchange, and the figures of the global model."""
        publication, rounds = self._algorithm.publication, self.run.federation.rounds
        if publication is None:
            if self.run.privacy.dp is not None:
                self._privacy.spent(log, self._roll.ask(PUBLISH, rounds, None, rounds, 0)[0])
            return {}
        steps, most = publication.server(self._server), self._deadlines.publish
        answers, server = self._roll.ask(PUBLISH, rounds, steps, rounds, most)
        for site, answer in answers.items():
            self._privacy.planned(log, site, answer)
        self._privacy.spent(log, answers)
        sent, missing = server.sent_bytes + sent_by(answers), self._roll.missing(server)
        tell_troubles(log, rounds, answers, server)
        log.emit("published", round=rounds, sent_bytes=sent, missing=missing)
        check_quorum("the global model", self.terms.sites, missing, self.run.federation.quorum)
        self._save_model(self._server.weights)
        if self._algorithm.measurement is not None:
            tell_verdict(log, rounds - 1, self._server.verdict, self._scale)
            return pooled_metrics(self._server.verdict, self._scale)
        tell_global(log, rounds - 1, answers, self._scale)
        return pooled(answers, "test", self._scale)

    def _save_model(self, weights: Weights) -> None:
        model = build_model(self.run)
        load_weights(model, weights)
        info = {**model.info, "run": self.run.name, "rounds": str(self.run.federation.rounds)}
        save_checkpoint(self._folder / MODEL, model, info)

"""What the server does in a job: asks the sites, round by round, and writes down what they tell.

Knows nothing of FLARE. In the decentralized scenario the server holds no model until the last
exchange; it learns who took part, and the numbers that each site's own policy lets out.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fedefm.errors import ProtocolError, QuorumLost
from fedefm.events import EventLog, Listener
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.weights import Weights, load_weights
from fedefm.train.assemble import build_model, build_server
from fedefm.train.exchange import SERVER, RoundStats, Steps
from fedefm.train.rounds import Measurement, algorithm_for
from fedefm.train.run_folder import (
    MODEL,
    open_run_folder,
    run_log,
    tell_start,
    write_result,
)
from fedefm.train.secrecy import Secrecy
from fedefm.train.simulate import Outcome
from fedefm.train.state import finished_rounds, load_state, save_state
from fedefm.train.telling import (
    check_quorum,
    close_round,
    tell_pooled,
    tell_rejected,
    tell_site,
    tell_verdict,
    unheard,
)
from fedefm.train.verdict import pooled_metrics
from nvflare_jobs.parties.accuracy import pooled, tell_global, tell_own
from nvflare_jobs.parties.deadlines import deadlines_of
from nvflare_jobs.parties.gathering import Answers, Patience, no_patience
from nvflare_jobs.parties.heads import HEADS_FILE, KNOWN_HEADS, KnownHeads
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.reports import outcome_of
from nvflare_jobs.parties.tasks import DISMISS, MEASURE, PUBLISH, READY, ROUND
from nvflare_jobs.parties.terms import Terms

START_S = 600.0  # how long sites may take to start and to decode their images
GRACE_S = 10.0  # fetching a task, sending its result
SIMULATOR = "simulator"  # all sites are folders of one machine


class Asking(Protocol):
    """Puts a task to all sites and waits for their answers."""

    def __call__(
        self,
        task: str,
        numbers: Mapping[str, Any],
        awaited: frozenset[str],
        limit_s: float,
        enough: int | None = None,
        patience_s: Patience = no_patience,
        meanwhile: Callable[[], None] | None = None,
    ) -> Answers:
        """Answers by site: all ``awaited`` ones, or those that came before ``limit_s``.

        From when ``enough`` have answered, the others get as many seconds as ``patience_s`` says of
        the answers so far. ``meanwhile`` runs while the sites work. An answer of
        ``{"refused": sentence}`` means that a site could not.
        """


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
    ) -> None:
        self.terms, self.run, self.plan = terms, terms.run, terms.plan()
        self._folder, self._state_folder = folder, state_folder
        self._party, self._ask, self._listeners = party, ask, listeners
        self._deadlines = deadlines_of(terms.run, self.plan)
        self._server = build_server(terms.run, self.plan, secrecy=secrecy)
        self._algorithm = algorithm_for(terms.run, self.plan)
        self._silent: dict[str, str] = {}  # who did not answer last, and why nobody waits
        self._refused: dict[str, str] = {}  # who cannot take part in this job at all
        # no run's name begins with a dot, so no run's state folder can be in the way
        self._heads = KnownHeads(state_folder.parent / f".{HEADS_FILE}", folder / HEADS_FILE)
        self._privacy: dict[str, dict[str, Any]] = {}  # what each site planned, or spent

    def conduct(self, where: str, encrypted: bool) -> None:
        """The whole job. Raises QuorumLost where too few sites take part."""
        open_run_folder(self._folder, self.run, resume=False)
        with run_log(self._folder, self._listeners) as log:
            ready = self._gather()
            begin_at = self._newest_common(ready) if self.terms.resume else 0
            if not begin_at:  # an older run of this name may have come further
                shutil.rmtree(self._state_folder, ignore_errors=True)
            elif self._algorithm.server_round is not None:
                self._load_server(begin_at)
            tell_start(log, self.run, self.plan, where, begin_at)
            self._tell_holdings(log, ready)
            for round_index in range(begin_at, self.run.federation.rounds):
                self._play_round(round_index, begin_at, log)
            metrics = self._publish(log)
            simulated, sites = where == SIMULATOR, self.terms.sites
            write_result(
                self._folder, self.run, sites, metrics, encrypted, simulated, self._privacy
            )

    # Before the first round.

    def _gather(self) -> Answers:
        """The barrier: every site is up, has its images, and says from where it could go on."""
        federation, sites = self.run.federation, self.terms.sites
        answers = self._ask(
            READY,
            {KNOWN_HEADS: self._heads.of(sites)},
            frozenset(sites),
            START_S,
            enough=self.terms.needed,
            patience_s=lambda answers: federation.deadline_s,
        )
        self._note_absent(answers)
        self._heads.note(answers)
        for site, answer in answers.items():
            if "refused" in answer:
                self._refused[site] = str(answer["refused"])
        ready = {site: a for site, a in answers.items() if site not in self._refused}
        try:
            check_quorum("start", sites, {**self._silent, **self._refused}, federation.quorum)
        except QuorumLost:
            self._dismiss(frozenset(ready))
            raise
        return ready

    def _dismiss(self, sites: frozenset[str]) -> None:
        """Let the sites give back what they have set aside for a run that does not begin."""
        if self.run.privacy.dp is not None:
            self._heads.note(self._ask(DISMISS, {}, sites, GRACE_S))

    def _newest_common(self, ready: Answers) -> int:
        """After how many rounds to go on: the newest that all have, else that a quorum has.

        Raises ProtocolError where there are states, but none that enough sites share.
        """
        saved = {site: {int(n) for n in a.get("saved", ())} for site, a in ready.items()}
        if self._algorithm.server_round is not None:
            saved[SERVER] = set(finished_rounds(self._state_folder))
        recorded = self.terms.recorded
        if recorded is not None:  # sites may be one round ahead of what was told
            saved = {party: {n for n in have if n <= recorded} for party, have in saved.items()}
        everyone = set.intersection(*saved.values())
        if everyone:
            return max(everyone)
        known = sorted(set.union(*saved.values()), reverse=True)
        needed = self.terms.needed
        shared = [n for n in known if sum(n in have for have in saved.values()) >= needed]
        if not shared and (known or recorded):
            raise ProtocolError(
                "the sites have saved no common state of this run to go on with; "
                "start a new run without --resume"
            )
        return shared[0] if shared else 0

    def _load_server(self, rounds: int) -> None:
        saved = load_state(self._state_folder, rounds)
        if saved is not None:
            self._server.load_state(saved[1][SERVER])

    def _tell_holdings(self, log: EventLog, ready: Answers) -> None:
        told = {site: answer["holdings"] for site, answer in ready.items() if "holdings" in answer}
        if told:
            log.emit("corpora", holdings=told)

    # One round.

    def _play_round(self, round_index: int, begin_at: int, log: EventLog) -> None:
        log.emit("round_started", round=round_index)
        started = time.perf_counter()
        server_round = self._algorithm.server_round
        steps = server_round(self._server, round_index) if server_round else None
        most = self._deadlines.round
        answers, server = self._ask_sites(ROUND, round_index, steps, begin_at, most)
        missing = {**unheard(server), **self._silent, **self._refused}
        if steps is not None:
            tell_rejected(log, round_index, SERVER, server)
            log.emit("server", round=round_index, sent_bytes=server.sent_bytes)
        for site, answer in answers.items():
            self._tell_planned(log, site, answer)
            reason = self._tell_answer(log, round_index, site, answer)
            if reason:
                missing[site] = reason
        ordered = {site: missing[site] for site in self.terms.sites if site in missing}
        federation, seconds = self.run.federation, time.perf_counter() - started
        close_round(log, round_index, self.terms.sites, ordered, seconds, federation.quorum)
        tell_own(log, round_index, answers)
        measurement = self._algorithm.measurement
        if measurement is not None and (round_index + 1) % federation.evaluate_every == 0:
            self._measure(measurement, round_index, begin_at, log)
        if steps is not None:
            save_state(self._state_folder, round_index + 1, {SERVER: self._server.state()})
        log.emit("checkpoint", round=round_index)

    def _measure(
        self, measurement: Measurement, round_index: int, begin_at: int, log: EventLog
    ) -> None:
        """What the sites measured in the round, told as one sum over all of them."""
        steps, most = measurement.server(self._server, round_index), self._deadlines.metrics
        answers, server = self._ask_sites(MEASURE, round_index, steps, begin_at, most)
        self._tell_troubles(log, round_index, answers, server)
        if server.result is not None:
            sent = server.sent_bytes + _sent_by(answers)
            tell_pooled(log, round_index, "validation", server.result, "own", sent)

    def _tell_troubles(
        self, log: EventLog, round_index: int, answers: Answers, server: Outcome[Any]
    ) -> None:
        """What was refused in an exchange of which no site gives a further account."""
        tell_rejected(log, round_index, SERVER, server)
        for site, answer in answers.items():
            told = [*answer.get("rejected", ()), *filter(None, [_trouble(answer)])]
            tell_rejected(log, round_index, site, Outcome(rejected=[str(each) for each in told]))

    def _ask_sites(
        self, task: str, round_index: int, steps: Steps[Any] | None, begin_at: int, most: int
    ) -> tuple[Answers, Outcome[Any]]:
        """Put a task of ``most`` exchanges to the sites, and play the server's part in it.

        The sites' answers, and what became of the server's part.
        """
        absent = {**self._silent, **self._refused}
        deadline_s = self.run.federation.deadline_s
        played: list[Outcome[Any]] = []

        def server_part() -> None:
            if steps is not None:
                played.append(self._party.play(steps, round_index, absent))

        awaited = frozenset(self.terms.sites) - frozenset(absent)

        def patience_s(answers: Answers) -> float:
            known = awaited - set(answers) <= _missed_by(answers, played)
            deadlines = self._deadlines.missed if known else self._deadlines.lateness
            return deadlines * deadline_s + GRACE_S

        answers = self._ask(
            task,
            {"round": round_index, "begin_at": begin_at, "silent": sorted(absent)},
            awaited,
            (most + 1) * deadline_s + GRACE_S,
            enough=self.terms.needed,
            patience_s=patience_s,
            meanwhile=server_part,
        )
        answers = {site: a for site, a in answers.items() if site not in self._refused}
        self._note_absent(answers)
        self._heads.note(answers)
        server = played[0] if played else Outcome()
        if server.error is not None:  # nobody can replace the server
            raise server.error
        return answers, server

    def _tell_answer(
        self, log: EventLog, round_index: int, site: str, answer: Mapping[str, Any]
    ) -> str | None:
        """Write down one site's round; why it failed, or None."""
        outcome: Outcome[RoundStats] = Outcome()
        reason = _trouble(answer)
        try:
            outcome = outcome_of(answer) if "refused" not in answer else outcome
        except ProtocolError as error:
            reason = str(error)
        tell_site(log, round_index, site, outcome, reason)
        return reason

    def _tell_planned(self, log: EventLog, site: str, answer: Mapping[str, Any]) -> None:
        """What a site will spend at most; it stands for what was spent until that is told."""
        if planned := answer.get("planned"):
            log.emit("privacy_planned", site=site, **planned)
            self._privacy[site] = {**planned, "at_most": True}
        if left := answer.get("budget"):
            log.emit("budget", site=site, **left)

    def _tell_spent(self, log: EventLog, answers: Answers) -> None:
        for site, answer in answers.items():
            if spent := answer.get("privacy"):
                log.emit("privacy_spent", site=site, **spent)
                self._privacy[site] = spent

    def _note_absent(self, answers: Answers) -> None:
        waited = self.run.federation.deadline_s
        self._silent = {
            site: f"did not answer (deadline {waited:g} s an exchange)"
            for site in self.terms.sites
            if site not in answers and site not in self._refused
        }

    # After the last round.

    def _publish(self, log: EventLog) -> dict[str, float | int | None]:
        publication, rounds = self._algorithm.publication, self.run.federation.rounds
        if publication is None:
            if self.run.privacy.dp is not None:
                self._tell_spent(log, self._ask_sites(PUBLISH, rounds, None, rounds, 0)[0])
            return {}
        steps, most = publication.server(self._server), self._deadlines.publish
        answers, server = self._ask_sites(PUBLISH, rounds, steps, rounds, most)
        for site, answer in answers.items():
            self._tell_planned(log, site, answer)
        self._tell_spent(log, answers)
        sent = server.sent_bytes + _sent_by(answers)
        missing = {**unheard(server), **self._silent, **self._refused}
        self._tell_troubles(log, rounds, answers, server)
        log.emit("published", round=rounds, sent_bytes=sent, missing=missing)
        check_quorum("the global model", self.terms.sites, missing, self.run.federation.quorum)
        self._save_model(self._server.weights)
        if self._algorithm.measurement is not None:
            tell_verdict(log, rounds - 1, self._server.verdict)
            return pooled_metrics(self._server.verdict)
        tell_global(log, rounds - 1, answers)
        return pooled(answers, "test")

    def _save_model(self, weights: Weights) -> None:
        model = build_model(self.run)
        load_weights(model, weights)
        info = {**model.info, "run": self.run.name, "rounds": str(self.run.federation.rounds)}
        save_checkpoint(self._folder / MODEL, model, info)


def _missed_by(answers: Answers, played: Sequence[Outcome[Any]]) -> set[str]:
    """Whom those who are done, the server among them, did not hear."""
    told = {str(site) for answer in answers.values() for site in answer.get("unheard", ())}
    return told.union(*(outcome.missing for outcome in played))


def _sent_by(answers: Answers) -> int:
    return sum(int(answer.get("sent_bytes", 0)) for answer in answers.values())


def _trouble(answer: Mapping[str, Any]) -> str | None:
    trouble: str | None = answer.get("refused", answer.get("reason"))
    return trouble

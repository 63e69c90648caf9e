"""What one site does in a job: its data, its state, its rounds, and what it tells of them.

Knows nothing of FLARE. What leaves is decided here by the site's own file: a number whose name is
not in ``policy.allowed_metrics`` is not told.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedefm.config import SiteConfig, read_site
from fedefm.data.dataset import FrameDataset
from fedefm.errors import ConfigError, PolicyRefused, ProtocolError
from fedefm.model.foundation import FoundationModel
from fedefm.model.weights import Weights, load_weights
from fedefm.train.assemble import (
    build_model,
    build_site,
    check_promises,
    check_share,
    find_manifest,
    load_data,
)
from fedefm.train.exchange import RoundStats, Steps
from fedefm.train.measure import Measure, correct, measure_nothing, measure_on
from fedefm.train.rounds import algorithm_for
from fedefm.train.simulate import Outcome
from fedefm.train.site import Site
from fedefm.train.workshop import holdings
from nvflare_jobs.parties import places
from nvflare_jobs.parties.answers import MEASURED_IN_TRAINING, few, tellable
from nvflare_jobs.parties.heads import KNOWN_HEADS
from nvflare_jobs.parties.hiding import hiding
from nvflare_jobs.parties.identities import Credentials
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.reasons import discretion_of, tell_reason, without_places
from nvflare_jobs.parties.reports import report_of
from nvflare_jobs.parties.saved_run import SavedRun
from nvflare_jobs.parties.tasks import DISMISS, MEASURE, PUBLISH, READY, ROUND
from nvflare_jobs.parties.terms import Terms

if TYPE_CHECKING:
    from nvflare_jobs.parties.site_guard import SiteGuard

BACK = "was silent before and is back; it takes part from the next round on"


class SiteWork:
    """One site in one job.

    Args:
        site_file: the hospital's ``fedefm_site.yaml``.
        state_folder: where this site keeps its state of the run, and nobody else writes.
        encrypted: whether messages travel encrypted from end to end.
        simulated: all sites are folders of one machine, so nothing is there to be encrypted.
        job: FLARE's id of the job, for the ledger and for secure sums.
        credentials: without which a run with secure sums is refused.
    """

    def __init__(
        self,
        name: str,
        terms: Terms,
        site_file: Path,
        state_folder: Path,
        encrypted: bool,
        simulated: bool,
        job: str = "",
        credentials: Credentials | None = None,
    ) -> None:
        self.name, self.terms = name, terms
        self._settings: SiteConfig = read_site(site_file)
        self._discretion = discretion_of(site_file, simulated)
        self._check_policy(encrypted, simulated)
        self._guard = _guard(name, site_file, terms, job)
        self._tellable = tellable(self._settings.policy, terms.run)
        if name not in terms.sites:
            raise ConfigError(
                f"site {name!r} is not in this job, whose sites are {', '.join(terms.sites)}"
            )
        self._troubles: list[str] = []  # of secure sums, for the next report
        self._secrecy = hiding(
            credentials, site_file, state_folder, terms, job, self._troubles.append
        )
        manifest = find_manifest(site_file, terms.run.dataset)
        check_share(terms.run, name, manifest)
        if self._guard is not None:
            self._guard.check(manifest)
        self._data = load_data(manifest, terms.run)
        self._algorithm = algorithm_for(terms.run, terms.plan())
        self._saved = SavedRun(name, state_folder, terms, places.job_key(job))
        begun = self._saved.begun
        self._next_round = begun.next_round if begun else 0  # none before is played, or again
        self._next_measured = 1 + (
            -1 if begun is None or begun.measured is None else begun.measured
        )
        self._started = False
        self._planned: dict[str, Any] = {}  # to be told with the next answer
        self._measured: RoundStats | None = None  # in the round that is over; None where it failed

    def answer(self, task: str, numbers: Mapping[str, Any], party: Party) -> dict[str, Any]:
        """Do one of the coordinator's tasks, and tell what came of it."""
        if task == READY:
            return self.ready(numbers.get(KNOWN_HEADS, {}).get(self.name))
        if task == DISMISS:
            return self.dismiss()
        if task not in (ROUND, MEASURE, PUBLISH):
            raise ProtocolError(f"task {task!r} is not known at a site")
        if not self._started:
            self._planned = self.start(int(numbers["begin_at"]))
        told, self._planned = self._planned, {}
        if task == ROUND and self.name in numbers["silent"]:
            return told | self.sit_out(int(numbers["round"]))
        if task == ROUND:
            return told | self.play(party, int(numbers["round"]), numbers["silent"])
        if task == MEASURE:
            return told | self.measure(party, int(numbers["round"]), numbers["silent"])
        return told | self.publish(party, numbers["silent"])

    def ready(self, known_head: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the coordinator may know before the first round: holdings and saved rounds.

        A private site tells no counts of training images. Its ledger must have the entry
        ``known_head``, which the server remembers, and the budget of a new run is set aside now,
        so that a site that cannot afford it is known before the others begin. A resumed run's is
        when it is known from where it goes on. Raises what a ledger and a plan raise.
        """
        told: dict[str, Any] = {"saved": self._saved.rounds()}
        self._saved.note(known_head=self._checked(known_head))  # whoever takes over relies on it
        if self._guard is not None:
            if not self.terms.resume and not self._has_begun():
                self._guard.protect(0, self._saved.run_id, self._data.train)
        elif "images" in self._tellable:
            told["holdings"] = holdings({self.name: self._data})[self.name]
        return told | self._of_ledger()

    def dismiss(self) -> dict[str, Any]:
        """The run does not begin: what was set aside for it is given back."""
        self._give_back()
        return self._of_ledger()

    def go_on(self) -> None:
        """Take over at once, where another process of this job was at work before.

        Then the next round need not wait until images are decoded. Raises what ``start`` does.
        """
        if self._has_begun() and self._next_round <= self.terms.run.federation.rounds:
            self._planned = self.start(self._next_round)

    def close(self) -> None:
        """Let go of the ledger. A run that began and was not published keeps its plan."""
        if self._guard is not None:
            if not self._started:
                self._give_back()
            self._guard.close()

    def start(self, rounds: int) -> dict[str, Any]:
        """Go on after ``rounds`` finished rounds, or begin afresh where they are 0.

        A site that was away in the last rounds goes on from its newest state before them. Raises
        ConfigError where it has none, and BudgetExhausted where a private site cannot afford all
        rounds from here on. Gives what a private site may tell of its plan.

        Where another process of this job was at work before, the site goes on from what that saved
        last, after the newest round that it had begun.
        """
        self._look_again()
        if self._has_begun():
            self._take_over()
        elif rounds == 0:
            self._saved.begin()
            self._build(0)
        else:
            state = self._saved.newest(rounds)
            self._build(rounds)
            self._site.load_state(state)
            self._saved.go_on(rounds)
        self._next_round = max(rounds, self._next_round)
        self._started = True
        if self._guard is None:
            return {}
        return {"planned": self._guard.planned()} | self._guard.left()

    def play(self, party: Party, round_index: int, silent: Iterable[str] = ()) -> dict[str, Any]:
        """One round. A site that fails is put back to where the round began.

        Raises ProtocolError for a round that was played in this job, or lies before it: two sums of
        one round could differ by a single site's part.
        """
        self._play_no_more(round_index)
        party.guard(self._site.release)
        before = self._site.state()
        steps = self._algorithm.site_round(self._site, round_index)
        outcome = self._played(party, steps, round_index, silent)
        reason = None
        self._measured = outcome.result
        if outcome.error is None:
            self._site.finish_round()
        else:
            self._site.load_state(before)
            reason = self._reason(outcome.error)
        self._saved.save(round_index + 1, self._site.state())
        report = self._allowed(report_of(outcome, reason))
        federation = self.terms.run.federation
        if (round_index + 1) % federation.evaluate_every == 0:
            report["measured"] = self._measure({"own": self._site.model}, ("validation",))
        return report | self._of_ledger()

    def sit_out(self, round_index: int) -> dict[str, Any]:
        """Be back after a silence: nobody waits for this site in the round, and all do in the next.

        What it did now would come too late, in this round and, as it would end later than the
        others, in all that follow. Raises what ``play`` does.
        """
        self._play_no_more(round_index)
        self._measured = None
        self._saved.save(round_index + 1, self._site.state())
        return self._allowed(report_of(Outcome(), BACK)) | self._of_ledger()

    def measure(self, party: Party, round_index: int, silent: Iterable[str] = ()) -> dict[str, Any]:
        """Give what was measured in the round to the sum over all sites, and tell nothing of it."""
        measurement = self._algorithm.measurement
        if measurement is None:
            raise ProtocolError("in this run each site tells its own numbers, with its rounds")
        if round_index < self._next_measured:
            raise ProtocolError(
                f"round {round_index} was measured before, and is not measured again"
            )
        self._next_measured = round_index + 1
        self._saved.note(measured=round_index)
        steps = measurement.site(self._site, round_index, self._summable(self._measured))
        outcome = self._played(party, steps, round_index, silent)
        reason = self._reason(outcome.error) if outcome.error else None
        outcome.result = None
        return self._allowed(report_of(outcome, reason)) | self._of_ledger()

    def publish(self, party: Party, silent: Iterable[str] = ()) -> dict[str, Any]:
        """The last exchange, how the global model does on the own images, and what was spent.

        Once: raises ProtocolError where it is asked for again.
        """
        last = self.terms.run.federation.rounds
        self._play_no_more(last)
        publication = self._algorithm.publication
        if publication is None:
            return report_of(Outcome(), None) | self._spent()
        party.guard(self._site.release)
        weights: list[Weights] = []

        def steps() -> Steps[RoundStats]:
            published = yield from publication.site(self._site)
            weights.extend([published] if published is not None else [])
            return RoundStats()

        outcome = self._played(party, steps(), last, silent)
        reason = self._reason(outcome.error) if outcome.error else None
        report = self._allowed(report_of(outcome, reason))
        if weights:
            models = {"global": self._shared(weights[0])}
            report["measured"] = self._measure(models, ("validation", "test"))
        return report | self._spent()

    def _play_no_more(self, round_index: int) -> None:
        """This round and none before it, once it is begun."""
        if round_index < self._next_round:
            raise ProtocolError(
                f"round {round_index} is over at site {self.name!r}, which goes on with round "
                f"{self._next_round} and plays none twice; start a new job, or resume this one"
            )
        self._next_round = round_index + 1
        self._saved.note(played=round_index)

    def _has_begun(self) -> bool:
        """Whether another process of this job has begun rounds before this one was there."""
        return self._saved.begun is not None and self._saved.begun.begin_at is not None

    def _take_over(self) -> None:
        begun = self._saved.begun
        assert begun is not None
        if self._next_round > self.terms.run.federation.rounds:
            raise ProtocolError(
                f"this job was published before at site {self.name!r}, or died in it"
            )
        state = self._saved.newest_of_this_job(begun)
        self._build(self._next_round)
        if state is not None:
            self._site.load_state(state)

    def _checked(self, known_head: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """What the server remembers, now or before: the ledger has it, or this raises."""
        if self._guard is None:
            return None
        known = known_head or self._saved.known_head
        self._guard.look_into_ledger(known)
        return known

    def _look_again(self) -> None:
        """Into the ledger, where another process of this job was told what the server knows."""
        if self._guard and self._guard.protection is None and self._saved.begun is not None:
            self._guard.look_into_ledger(self._saved.known_head)

    def _give_back(self) -> None:
        """Nothing stays set aside for the run, also by another process before this one."""
        if self._guard is None:
            return
        if self._saved.begun is not None and not self._has_begun() and not self.terms.resume:
            self._look_again()
            self._guard.protect(0, self._saved.run_id, self._data.train)
        self._guard.give_back()

    def _played(
        self, party: Party, steps: Steps[RoundStats], round_index: int, silent: Iterable[str]
    ) -> Outcome[RoundStats]:
        """What became of ``steps``, with the troubles of its secure sums."""
        outcome = party.play(steps, round_index, silent)
        troubles = few(self._troubles + outcome.rejected)
        outcome.rejected = [without_places(trouble, self._discretion) for trouble in troubles]
        self._troubles.clear()
        return outcome

    def _build(self, begin: int) -> None:
        """The site, and for a private run what guards it in the rounds from ``begin``."""
        run, protection = self.terms.run, None
        if self._guard is not None:
            self._guard.protect(begin, self._saved.run_id, self._data.train)
            protection = self._guard.protection
        self._site: Site = build_site(
            self.name,
            self._data.train,
            run,
            self.terms.plan(),
            protection,
            secrecy=self._secrecy,
            measure=self._summed_accuracies(),
        )

    def _spent(self) -> dict[str, Any]:
        """The run is over here: give back what was not used, and tell what was."""
        self._site.release.finish()
        spent = self._site.release.result()
        left = {} if self._guard is None else self._guard.left()
        return ({} if spent is None else {"privacy": dict(spent)}) | left | self._of_ledger()

    def _of_ledger(self) -> dict[str, Any]:
        return {} if self._guard is None else self._guard.told()

    def _check_policy(self, encrypted: bool, simulated: bool) -> None:
        if self._settings.policy.require_encryption and not (encrypted or simulated):
            raise PolicyRefused(
                f"site {self.name!r} requires encryption from end to end, and this job runs "
                "without; start it in a provisioned FLARE project"
            )
        check_promises(self._settings, self.terms.run, self.name)

    def _shared(self, weights: Weights) -> FoundationModel:
        model = build_model(self.terms.run)
        load_weights(model, weights)
        return model

    def _measure(
        self, models: Mapping[str, FoundationModel], splits: Iterable[str]
    ) -> dict[str, dict[str, tuple[int, int]]]:
        """``split -> model -> (right, images)``; empty where the site does not tell accuracies."""
        if not {"accuracy", "images"} <= self._tellable:
            return {}
        found: dict[str, FrameDataset | None] = {
            "validation": self._data.validation,
            "test": self._data.test,
        }
        return {
            split: {name: (correct(model, data), len(data)) for name, model in models.items()}
            for split in splits
            if (data := found[split]) is not None
        }

    def _summed_accuracies(self) -> Measure:
        """How models do on the own images, for sums; on none where the site tells no accuracies."""
        if {"accuracy", "images"} <= set(self._settings.policy.allowed_metrics):
            return measure_on(self._data.held_out)
        return measure_nothing

    def _summable(self, stats: RoundStats | None) -> RoundStats | None:
        """What the site's policy lets into a sum over all sites; nothing where it is private."""
        if stats is None:
            return None
        allowed = set(self._settings.policy.allowed_metrics)
        if self._guard is not None:
            allowed -= MEASURED_IN_TRAINING
        loss = stats.loss if "loss" in allowed else None
        return replace(
            stats, loss=loss, similarity=stats.similarity if "similarity" in allowed else {}
        )

    def _reason(self, error: Exception) -> str:
        return tell_reason(error, self._discretion)

    def _allowed(self, report: dict[str, Any]) -> dict[str, Any]:
        """The report without what the site's policy keeps. Bytes are seen by the relay anyway."""
        if "loss" not in self._tellable:
            report["loss"] = None
        if "similarity" not in self._tellable:
            report["similarity"] = {}
        if "seconds" not in self._tellable:
            report["seconds"] = report["exchange_seconds"] = 0.0
        return report


def _guard(site: str, site_file: Path, terms: Terms, job: str) -> "SiteGuard | None":
    if terms.run.privacy.dp is None:
        return None
    from nvflare_jobs.parties.site_guard import SiteGuard  # the privacy packages load slowly

    return SiteGuard(site, site_file, terms, job)

"""What a site does in a job once it has begun: its rounds, their sums, and the publication."""

from collections.abc import Iterable, Mapping
from typing import Any

from fedefm.config import RunConfig
from fedefm.data.loading import Splits
from fedefm.errors import ProtocolError
from fedefm.model.weights import Weights
from fedefm.train.exchange import RoundStats, Steps
from fedefm.train.rounds import Algorithm
from fedefm.train.simulate import Outcome
from fedefm.train.site import Site
from nvflare_jobs.parties.course import Course
from nvflare_jobs.parties.disclosure import Disclosure
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.site_budget import SiteBudget
from nvflare_jobs.parties.tasks import MEASURE, PUBLISH

BACK = "was silent before and is back; it takes part from the next round on"


class SiteRounds:
    """The rounds of ``site``. ``troubles`` collects those of its sums, for the next report."""

    def __init__(
        self,
        site: Site,
        run: RunConfig,
        algorithm: Algorithm,
        data: Splits,
        course: Course,
        disclosure: Disclosure,
        budget: SiteBudget,
        troubles: list[str],
    ) -> None:
        self.site = site
        self._run, self._algorithm, self._data = run, algorithm, data
        self._course, self._disclosure, self._budget = course, disclosure, budget
        self._troubles = troubles
        self._measured: RoundStats | None = None  # in the round that is over; None where it failed

    def answer(self, task: str, numbers: Mapping[str, Any], party: Party) -> dict[str, Any]:
        """Do one of the coordinator's tasks, and tell what came of it."""
        silent = numbers["silent"]
        if task == PUBLISH:
            return self.publish(party, silent)
        round_index = int(numbers["round"])
        if task == MEASURE:
            return self.measure(party, round_index, silent)
        if self.site.name in silent:
            return self.sit_out(round_index)
        return self.play(party, round_index, silent)

    def play(self, party: Party, round_index: int, silent: Iterable[str] = ()) -> dict[str, Any]:
        """One round. A site that fails is put back to where the round began.

        Raises ProtocolError for a round that was played in this job, or lies before it: two sums of
        one round could differ by a single site's part.
        """
        self._course.play_no_more(round_index)
        party.guard(self.site.release)
        before = self.site.state()
        steps = self._algorithm.site_round(self.site, round_index)
        outcome = self._played(party, steps, round_index, silent)
        report = self._disclosure.report(outcome)
        self._measured = outcome.result
        if outcome.error is None:
            self.site.finish_round()
        else:
            self.site.load_state(before)
        del before  # three times the model; what is saved now takes as much
        self._course.played(round_index, self.site.state())
        if self._run.measures_after(round_index):
            held_out = {"validation": self._data.validation}
            report["measured"] = self._disclosure.accuracies({"own": self.site.model}, held_out)
        return report | self._budget.head()

    def sit_out(self, round_index: int) -> dict[str, Any]:
        """Be back after a silence: nobody waits for this site in the round, and all do in the next.

        What it did now would come too late, in this round and, as it would end later than the
        others, in all that follow. Raises what ``play`` does.
        """
        self._course.play_no_more(round_index)
        self._measured = None
        self._course.played(round_index, self.site.state())
        return self._disclosure.report(Outcome(), BACK) | self._budget.head()

    def measure(self, party: Party, round_index: int, silent: Iterable[str] = ()) -> dict[str, Any]:
        """Give what was measured in the round to the sum over all sites, and tell nothing of it."""
        measurement = self._algorithm.measurement
        if measurement is None:
            raise ProtocolError("in this run each site tells its own numbers, with its rounds")
        self._course.measure_no_more(round_index)
        stats = self._disclosure.in_sums(self._measured)
        steps = measurement.site(self.site, round_index, stats)
        outcome = self._played(party, steps, round_index, silent)
        outcome.result = None
        return self._disclosure.report(outcome) | self._budget.head()

    def publish(self, party: Party, silent: Iterable[str] = ()) -> dict[str, Any]:
        """The last exchange, how the global model does on the own images, and what was spent.

        Once: raises ProtocolError where it is asked for again.
        """
        last = self._run.federation.rounds
        self._course.play_no_more(last)
        publication = self._algorithm.publication
        if publication is None:
            return self._disclosure.report(Outcome()) | self._spent()
        party.guard(self.site.release)
        weights: list[Weights] = []

        def steps() -> Steps[RoundStats]:
            published = yield from publication.site(self.site)
            weights.extend([published] if published is not None else [])
            return RoundStats()

        report = self._disclosure.report(self._played(party, steps(), last, silent))
        if weights:
            self.site.load_shared(weights[0])  # the run is over, and the state was saved
            models = {"global": self.site.model}
            report["measured"] = self._disclosure.accuracies(models, self._data.held_out)
        return report | self._spent()

    def _played(
        self, party: Party, steps: Steps[Any], round_index: int, silent: Iterable[str]
    ) -> Outcome[Any]:
        """What became of ``steps``, with the troubles of its secure sums."""
        outcome = party.play(steps, round_index, silent)
        outcome.rejected = self._disclosure.complaints(self._troubles + outcome.rejected)
        self._troubles.clear()
        return outcome

    def _spent(self) -> dict[str, Any]:
        """The run is over here: give back what was not used, and tell what was."""
        self.site.release.finish()
        spent = self.site.release.result()
        told = {} if spent is None else {"privacy": dict(spent)}
        return told | self._budget.left() | self._budget.head()

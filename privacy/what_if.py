"""Can a site still afford a run, what would it cost, and if not, what would fit?

Nothing is planned and nothing is written: the same sums as the ledger would make.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from fedefm.config import DpConfig
from fedefm.errors import PrivacyError
from privacy.accountant import epsilon
from privacy.calibrate import Sampling, noise_for, sampling_for
from privacy.costs import Costs, affordable_steps, costs, largest_epsilon
from privacy.mechanism import Mechanism, Spend, together
from privacy.policy import Promise

Settings = Mapping[str, float | None]  # of a run file, by dotted name


@dataclass(frozen=True)
class Planned:
    """A run at one site: noisy steps of each round, and those of one hosted neighbor in all.

    ``shares`` above 1: the noise is made by so many honest sites and more.
    """

    dp: DpConfig
    rounds: Sequence[int]
    guest_steps: int
    shares: int = 1

    @property
    def steps(self) -> int:
        """All steps of the run."""
        return sum(self.rounds)


@dataclass(frozen=True)
class Way:
    """Settings with which the run would fit, and the epsilons of the run and of everything."""

    what: str
    settings: Settings
    run: float
    total: float


@dataclass(frozen=True)
class Answer:
    """What a run would cost. ``before`` is what is spent and reserved; ``ways`` are empty if it
    fits, and where nothing would."""

    mechanism: Mechanism
    steps: int
    costs: Costs
    before: float
    cap: float | None
    ways: tuple[Way, ...]

    @property
    def fits(self) -> bool:
        """Whether the ledger would take it."""
        return self.cap is None or self.costs.total <= self.cap

    @property
    def left(self) -> float | None:
        """What would be left of the cap afterwards; below 0 where it does not fit."""
        return None if self.cap is None else self.cap - self.costs.total


def answer(planned: Planned, pledge: Promise, counted: Spend) -> Answer:
    """What ``planned`` costs beside ``counted``, all that is spent and reserved.

    The run's own epsilons are at the delta and adjacency of ``pledge``, those of everything at its
    budget's. Raises PrivacyError where no noise keeps the run's own promise.
    """
    question = _Question(planned, pledge, counted, sampling_for(planned.dp, pledge.units))
    mechanism = question.sampling.mechanism(question.noise(), planned.shares)
    own = costs(
        mechanism,
        planned.steps,
        max(planned.rounds),
        planned.guest_steps,
        pledge.delta,
        pledge.adjacency,
    )
    budget = pledge.budget
    found = Answer(
        mechanism,
        planned.steps,
        replace(own, total=question.total(mechanism, planned.steps)),
        epsilon(counted, budget.delta, budget.adjacency),
        budget.cap,
        (),
    )
    if found.fits or budget.cap is None or found.before >= budget.cap:
        return found
    ways = (*question.more_noise(), *question.fewer_rounds(mechanism), *question.fewer(mechanism))
    return replace(found, ways=tuple(way for way in ways if way.total <= budget.cap))


@dataclass(frozen=True)
class _Question:
    planned: Planned
    pledge: Promise
    counted: Spend
    sampling: Sampling

    @property
    def cap(self) -> float:
        return self.pledge.budget.cap or 0.0

    def noise(self) -> float:
        """Of the run as it stands."""
        dp = self.planned.dp
        return dp.noise_multiplier or self._noise(dp.epsilon or 0.0)

    def total(self, mechanism: Mechanism, steps: int) -> float:
        """Of everything, with so many steps."""
        budget = self.pledge.budget
        spend = together(self.counted, {mechanism: steps})
        return epsilon(spend, budget.delta, budget.adjacency)

    def more_noise(self) -> Iterator[Way]:
        """The same steps with more noise, that is, a smaller epsilon of the run."""
        steps, budget, sampling = self.planned.steps, self.pledge.budget, self.sampling
        if self.planned.dp.epsilon is None:
            try:
                noise = noise_for(
                    self.cap, budget.delta, budget.adjacency, sampling.rate, sampling.units,
                    sampling.cap, steps, self.counted,
                )  # fmt: skip
            except PrivacyError:
                return
            yield self._way(
                "more noise",
                {"privacy.dp.noise_multiplier": noise},
                sampling.mechanism(noise),
                steps,
            )
            return
        wanted = largest_epsilon(
            self.counted, sampling, steps, self.cap, budget.delta, budget.adjacency
        )
        if wanted:
            mechanism = sampling.mechanism(self._noise(wanted))
            yield self._way("a smaller epsilon", {"privacy.dp.epsilon": wanted}, mechanism, steps)

    def fewer_rounds(self, mechanism: Mechanism) -> Iterator[Way]:
        """As many rounds, from the first one, as fit with the same noise."""
        budget = self.pledge.budget
        most = affordable_steps(self.counted, mechanism, self.cap, budget.delta, budget.adjacency)
        sums = [steps for steps in accumulate(self.planned.rounds) if steps <= most]
        if sums:
            settings = {"federation.rounds": len(sums), **self._fixed(mechanism)}
            yield self._way("fewer rounds", settings, mechanism, sums[-1])

    def fewer(self, mechanism: Mechanism) -> Iterator[Way]:
        """The largest number of patients a step that fits with the same noise."""
        steps, noise = self.planned.steps, mechanism.noise_multiplier
        low, high = 0, min(self.planned.dp.patients_per_step, self.pledge.units)  # high is too many
        while high - low > 1:
            middle = (low + high) // 2
            if self.total(self._drawing(middle).mechanism(noise), steps) <= self.cap:
                low = middle
            else:
                high = middle
        if low:
            settings = {"privacy.dp.patients_per_step": low, **self._fixed(mechanism)}
            if self.planned.dp.max_patients_per_step is not None:
                settings["privacy.dp.max_patients_per_step"] = None
            drawn = self._drawing(low).mechanism(noise)
            yield self._way(f"fewer {self.planned.dp.unit}s a step", settings, drawn, steps)

    def _noise(self, wanted: float) -> float:
        pledge, sampling = self.pledge, self.sampling
        return noise_for(
            wanted,
            pledge.delta,
            pledge.adjacency,
            sampling.rate,
            sampling.units,
            sampling.cap,
            self.planned.steps,
        )

    def _drawing(self, number: int) -> Sampling:
        drawn = {"patients_per_step": number, "max_patients_per_step": None}
        return sampling_for(self.planned.dp.model_copy(update=drawn), self.pledge.units)

    def _fixed(self, mechanism: Mechanism) -> dict[str, float | None]:
        """The noise named outright: an epsilon would be met with less noise, and cost the same."""
        if self.planned.dp.epsilon is None:
            return {}
        noise = mechanism.noise_multiplier
        return {"privacy.dp.epsilon": None, "privacy.dp.noise_multiplier": noise}

    def _way(self, what: str, settings: Settings, mechanism: Mechanism, steps: int) -> Way:
        own = epsilon({mechanism: steps}, self.pledge.delta, self.pledge.adjacency)
        return Way(what, settings, own, self.total(mechanism, steps))

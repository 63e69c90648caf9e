"""How often a site will look at its patients: the steps of each round, known before the first one.

Under differential privacy every such step costs budget, so a site must know all of them before it
promises anything. The rounds do no more than what stands here; they do less where a partner fails.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedefm.config import RunConfig

if TYPE_CHECKING:  # torch would come with it, and who stops messages counts rounds, too
    from fedefm.topology.participation import Asked
    from fedefm.topology.schedules import Schedule


@dataclass(frozen=True)
class Effort:
    """One round's steps: for the ``own`` model, for those ``hosted``, and for a ``mean``.

    ``guests`` is the number of models hosted; ``hosted`` counts the steps of all of them.
    """

    own: int
    hosted: int = 0
    guests: int = 0
    mean: int = 0

    @property
    def steps(self) -> int:
        """All of them."""
        return self.own + self.hosted + self.mean


def effort(
    run: RunConfig,
    schedule: "Schedule",
    site: str,
    round_index: int,
    asked: "Asked | None" = None,
) -> Effort:
    """What ``site`` does in this round if every partner answers; None: it is asked in each."""
    federation = run.federation
    if asked is not None and site not in asked(round_index):
        return Effort(own=0)
    if federation.algorithm != "fedefm" or not is_expert_round(run, round_index):
        return Effort(own=federation.local_steps)
    guests = len(schedule.sources(site, round_index))
    aggregated = federation.expert == "aggregated"
    experts = 1 if aggregated else len(schedule.partners(site, round_index))
    weighted = federation.update == "mixed" and run.distill.weights == "emd"
    return Effort(
        own=federation.local_steps,
        hosted=guests * federation.host_steps,
        guests=guests,
        mean=int(weighted and experts > 1),  # one expert has all the weight
    )


def efforts(
    run: RunConfig,
    schedule: "Schedule",
    site: str,
    begin: int = 0,
    asked: "Asked | None" = None,
) -> tuple[Effort, ...]:
    """The efforts of the rounds from ``begin`` to the end."""
    rounds = range(begin, run.federation.rounds)
    return tuple(effort(run, schedule, site, k, asked) for k in rounds)


def steps_of(many: Iterable[Effort]) -> int:
    """All steps of several rounds."""
    return sum(one.steps for one in many)


def is_expert_round(run: RunConfig, round_index: int) -> bool:
    """Whether models travel to be trained elsewhere in this round of FedEFM."""
    federation = run.federation
    if federation.update == "swap":
        return (round_index + 1) % federation.expert_every == 0
    return federation.update == "mixed" or round_index > 0  # literal begins alone

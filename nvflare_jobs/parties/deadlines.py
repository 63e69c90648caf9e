"""How long a round may take, in deadlines: so many exchanges may be in it, each up to one.

A secure sum has nine exchanges where a plain one has one. That does not make a silent site nine
times as dear: whoever was silent once is not waited for again. It makes it longer until the last of
those who do answer is done.
"""

from dataclasses import dataclass

from fedefm.config import RunConfig
from fedefm.train.assemble import Plan

HANDED_OUT = 2  # a cohort's mean, and the members' word on which one they got
SINGLE = 2  # weights to a host, and the expert back
MODEL = 1  # from the server to all
STAGE = 2  # its images to a stage's sites, and the encoder to all


@dataclass(frozen=True)
class Deadlines:
    """Exchanges in a round, in the last exchange with the server, and in telling metrics, at most.

    ``lateness`` is by how many deadlines one site that answers can be later than another, and
    ``missed`` how many of them a site gets whom all others have missed in the round: with plain
    sums it may still be hosting, with secure ones it is out of the sum.
    """

    round: int
    publish: int
    metrics: int
    lateness: int
    missed: int


def deadlines_of(run: RunConfig, plan: Plan) -> Deadlines:
    """Of one run."""
    federation, total = run.federation, _exchanges_of_a_sum(run)
    publish, metrics = MODEL + total, total
    if federation.scenario == "client_server":
        most = MODEL + total + (0 if run.stagewise is None else STAGE)
    else:
        averaging = total + (HANDED_OUT if plan.cohorts is not None else 0)
        experts = 1 + total if federation.expert == "aggregated" else SINGLE
        most = max(averaging, experts)
    if run.privacy.secagg is None:
        return Deadlines(most, publish, metrics, lateness=1, missed=1)
    alone = federation.scenario == "client_server" or plan.cohorts is not None
    # a member waits two deadlines for its receiver; in several sums at once, for all of them
    return Deadlines(most, publish + metrics, metrics, lateness=2 if alone else most, missed=0)


def _exchanges_of_a_sum(run: RunConfig) -> int:
    if run.privacy.secagg is None:
        return 1
    from privacy.secagg.plan import PHASES  # the privacy packages load slowly

    return len(PHASES)

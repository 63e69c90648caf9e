"""What the officer's page tells, as plain values: made from the ledger, before any page is."""

import math
from dataclasses import dataclass
from datetime import datetime

from fedefm.config import Adjacency
from privacy.mechanism import Mechanism, Spend, Unit


@dataclass(frozen=True)
class Job:
    """What one run did to the patients of one dataset.

    ``spent`` counts reservations that were not settled in full; ``unsettled`` is how many of its
    steps those are: lost, unless the job is running now.
    ``reserved`` is still planned. ``epsilon`` is that of ``spent`` alone: those of several jobs do
    not add up to the dataset's.
    """

    run_id: str
    name: str
    job: str
    first: datetime
    last: datetime
    spent: Spend
    reserved: Spend
    unsettled: int
    given_back: int
    epsilon: float


@dataclass(frozen=True)
class Refund:
    """What an officer gave back, and why."""

    when: datetime
    run_id: str
    name: str
    steps: int
    reason: str


@dataclass(frozen=True)
class Moment:
    """Epsilon at one time: of what was spent, and with what was planned."""

    when: datetime
    spent: float
    committed: float


@dataclass(frozen=True)
class Use:
    """How often one mechanism was taken, and by which runs."""

    mechanism: Mechanism
    spent: int
    reserved: int
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Epsilons:
    """One number by several accountants. ``record`` counts; the others are None where they cannot.

    ``record`` is PLD's pessimistic value; PRV and RDP know add-or-remove alone.
    """

    record: float
    prv: float | None
    rdp: float | None


@dataclass(frozen=True)
class DatasetFacts:
    """One dataset's account against its cap.

    ``own_noise`` is the epsilon of what is spent if no other site's share of the noise were honest;
    None where all noise was this site's own.
    """

    name: str
    unit: Unit
    cap: float | None
    delta: float
    adjacency: Adjacency
    spent: Epsilons
    committed: float  # epsilon of all that is spent and planned
    jobs: tuple[Job, ...]
    uses: tuple[Use, ...]
    refunds: tuple[Refund, ...]
    moments: tuple[Moment, ...]
    own_noise: float | None = None

    @property
    def shares(self) -> int:
        """The most honest sites on whose noise a step's epsilon rests; 1: on this site's alone."""
        return max((use.mechanism.shares for use in self.uses), default=1)

    @property
    def left(self) -> float | None:
        """What a next job may still add to the cap; None without a cap."""
        return None if self.cap is None else max(0.0, self.cap - self.committed)

    @property
    def reserved(self) -> float:
        """How much of the committed epsilon is not spent yet."""
        if math.isinf(self.committed):
            return 0.0 if math.isinf(self.spent.record) else math.inf
        return max(0.0, self.committed - self.spent.record)


@dataclass(frozen=True)
class SiteFacts:
    """The ledger of one site, and whether it can be believed."""

    site: str
    made: datetime
    accountant: str
    interval: float
    entries: int
    sequence: int
    head: str
    checked: tuple[str, ...]
    doubts: tuple[str, ...]
    datasets: tuple[DatasetFacts, ...]

"""What the entries add up to: plans, reservations and sums, one entry after the other.

A pure fold: the same entries always give the same books. An entry that breaks a rule (settles
twice, draws more than was planned) is refused even though it is signed.
"""

from collections import Counter
from dataclasses import dataclass, field

from fedefm.errors import LedgerCorrupt
from privacy.ledger.entry import Entry
from privacy.ledger.labels import Dataset, RunLabel
from privacy.mechanism import Mechanism

Key = tuple[Dataset, str]  # a dataset and a run


@dataclass
class Plan:
    """Steps that a run may draw. ``drawn`` are those reserved and not handed back by a settling."""

    sequence: int
    dataset: Dataset
    run: RunLabel
    mechanism: Mechanism
    steps: int
    drawn: int = 0
    is_open: bool = True

    @property
    def remaining(self) -> int:
        """Steps that may still be drawn."""
        return self.steps - self.drawn if self.is_open else 0


@dataclass
class Reservation:
    """Steps drawn from a plan for one fit; spent in full until it is settled."""

    sequence: int
    plan: Plan
    steps: int
    is_open: bool = True


@dataclass
class RunBooks:
    """One run on one dataset, over all its plans."""

    label: RunLabel
    begun: str  # time of its first and newest entry
    latest: str
    spent: Counter[Mechanism] = field(default_factory=Counter)
    plan: Plan | None = None  # the open one
    lost: list[Reservation] = field(default_factory=list)  # not settled, or not yet
    reference: str = ""  # hash of the newest settled entry


class Books:
    """The sums over entries; ``apply`` checks first and then changes."""

    def __init__(self) -> None:
        self.runs: dict[Key, RunBooks] = {}
        self.settled: dict[str, str] = {}  # hash of a settled entry to its run
        self._spent: dict[Dataset, Counter[Mechanism]] = {}
        self._reserved: dict[Dataset, Counter[Mechanism]] = {}
        self._plans: dict[int, Plan] = {}
        self._reservations: dict[int, Reservation] = {}

    def spent(self, dataset: Dataset) -> Counter[Mechanism]:
        """Steps settled, and steps reserved and not settled."""
        return +self._spent.get(dataset, Counter())

    def reserved(self, dataset: Dataset) -> Counter[Mechanism]:
        """Steps of open plans that were not drawn."""
        return +self._reserved.get(dataset, Counter())

    def datasets(self) -> list[Dataset]:
        """All that have entries, sorted."""
        return sorted({dataset for dataset, _ in self.runs})

    def run(self, dataset: Dataset, run_id: str) -> RunBooks | None:
        """What a run did on a dataset."""
        return self.runs.get((dataset, run_id))

    def plan(self, sequence: int) -> Plan:
        """The plan that entry ``sequence`` made."""
        return self._plans[sequence]

    def reservation(self, sequence: int) -> Reservation | None:
        """The reservation that entry ``sequence`` made, where it made one."""
        return self._reservations.get(sequence)

    def apply(self, entry: Entry) -> None:
        """Count ``entry``. Raises LedgerCorrupt, having changed nothing, where it breaks a rule."""
        if entry.kind == "plan":
            self._planned(entry)
        elif entry.kind == "reserve":
            self._drawn(entry)
        elif entry.kind == "settle":
            self._settle(entry)
        elif entry.kind == "close":
            self._closed(entry, self._plans.get(entry.refers))
        elif entry.kind == "refund":
            self._refunded(entry)
        elif entry.kind != "genesis":
            raise LedgerCorrupt(f"entry {entry.sequence} is of unknown kind {entry.kind!r}")
        if entry.dataset and entry.run:
            self.runs[entry.dataset, entry.run.run_id].latest = entry.time

    def _planned(self, entry: Entry) -> None:
        dataset, run, mechanism = entry.dataset, entry.run, entry.mechanism
        if dataset is None or run is None or mechanism is None or entry.steps < 1:
            raise _broken(entry, "plans nothing")
        books = self.runs.setdefault((dataset, run.run_id), RunBooks(run, entry.time, entry.time))
        if books.plan is not None:
            raise _broken(entry, f"plans again while plan {books.plan.sequence} is open")
        plan = Plan(entry.sequence, dataset, run, mechanism, entry.steps)
        self._plans[entry.sequence] = plan
        books.plan, books.label = plan, run
        self._reserved.setdefault(dataset, Counter())[mechanism] += entry.steps

    def _drawn(self, entry: Entry) -> None:
        plan = self._plans.get(entry.refers)
        if plan is None or not 1 <= entry.steps <= plan.remaining:
            raise _broken(entry, f"draws {entry.steps} steps that entry {entry.refers} lacks")
        _require_same(entry, plan)
        reservation = Reservation(entry.sequence, plan, entry.steps)
        self._reservations[entry.sequence] = reservation
        plan.drawn += entry.steps
        self._reserved[plan.dataset][plan.mechanism] -= entry.steps
        self._spend(plan, entry.steps)
        self._books_of(plan).lost.append(reservation)

    def _settle(self, entry: Entry) -> None:
        reservation = self._open_reservation(entry)
        if not 0 <= entry.steps <= reservation.steps:
            raise _broken(entry, f"settles {entry.steps} of {reservation.steps} steps")
        plan, unused = reservation.plan, reservation.steps - entry.steps
        self._end(reservation, unused)
        if plan.is_open:  # what was not taken can be drawn again
            plan.drawn -= unused
            self._reserved[plan.dataset][plan.mechanism] += unused
        self.settled[entry.hash] = plan.run.run_id
        self._books_of(plan).reference = entry.hash

    def _closed(self, entry: Entry, plan: Plan | None) -> None:
        if plan is None or not plan.is_open or entry.steps != plan.remaining:
            raise _broken(entry, f"gives back {entry.steps} steps that entry {entry.refers} lacks")
        _require_same(entry, plan)
        self._reserved[plan.dataset][plan.mechanism] -= entry.steps
        plan.is_open = False
        self._books_of(plan).plan = None

    def _refunded(self, entry: Entry) -> None:
        if not entry.reason.strip():
            raise _broken(entry, "refunds without a reason")
        if entry.refers in self._plans:
            self._closed(entry, self._plans[entry.refers])
            return
        reservation = self._open_reservation(entry)
        if entry.steps != reservation.steps:
            raise _broken(entry, f"refunds {entry.steps} of {reservation.steps} steps")
        self._end(reservation, entry.steps)

    def _open_reservation(self, entry: Entry) -> Reservation:
        reservation = self._reservations.get(entry.refers)
        if reservation is None or not reservation.is_open:
            raise _broken(entry, f"refers to entry {entry.refers}, which is no open reservation")
        _require_same(entry, reservation.plan)
        return reservation

    def _end(self, reservation: Reservation, given_back: int) -> None:
        reservation.is_open = False
        self._spend(reservation.plan, -given_back)
        self._books_of(reservation.plan).lost.remove(reservation)

    def _spend(self, plan: Plan, steps: int) -> None:
        self._spent.setdefault(plan.dataset, Counter())[plan.mechanism] += steps
        self._books_of(plan).spent[plan.mechanism] += steps

    def _books_of(self, plan: Plan) -> RunBooks:
        return self.runs[plan.dataset, plan.run.run_id]


def _require_same(entry: Entry, plan: Plan) -> None:
    said = (entry.dataset, entry.run, entry.mechanism)
    if said != (plan.dataset, plan.run, plan.mechanism):
        raise _broken(entry, f"speaks of another run or mechanism than plan {plan.sequence}")


def _broken(entry: Entry, how: str) -> LedgerCorrupt:
    return LedgerCorrupt(f"entry {entry.sequence} ({entry.kind}) {how}")

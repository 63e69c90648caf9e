"""A ledger's entries told again, dataset by dataset: what stood in the books after each of them.

The ledger's own books do the counting, so that the page cannot count differently.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from privacy.ledger import Budget, Dataset, Entry, RunRecord
from privacy.ledger.books import Books
from privacy.ledger.runs import run_records
from privacy.mechanism import Spend
from privacy.report.facts import Refund

LANDMARKS = ("plan", "close", "refund")  # where what is committed changes


@dataclass(frozen=True)
class State:
    """The books of one dataset after one entry."""

    when: datetime
    spent: Spend
    reserved: Spend
    is_landmark: bool


@dataclass
class History:
    """Everything about one dataset."""

    dataset: Dataset
    spent: Spend
    reserved: Spend
    runs: Sequence[RunRecord]
    newest_budget: Budget | None = None  # of the newest plan
    states: list[State] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    given_back: dict[str, int] = field(default_factory=dict)  # steps by run

    def moments(self, most: int) -> list[State]:
        """At most ``most`` states: where something was planned or given back, and evenly between.

        The first and the last are always among them.
        """
        every = range(len(self.states))
        landmarks = [place for place in every if self.states[place].is_landmark]
        chosen = {*_evenly(landmarks, most // 2), *_evenly(every, most - most // 2)}
        return [self.states[place] for place in sorted(chosen)]


def histories(entries: Sequence[Entry]) -> Mapping[Dataset, History]:
    """The history of every dataset that has entries, sorted. Entries must have been verified."""
    books, found = Books(), dict[Dataset, History]()
    for place, entry in enumerate(entries):
        books.apply(entry)
        if entry.dataset is not None:
            history = found.setdefault(entry.dataset, History(entry.dataset, {}, {}, ()))
            following = entries[place + 1] if place + 1 < len(entries) else None
            _note(history, entry, following, books)
    for dataset, history in found.items():
        history.spent, history.reserved = books.spent(dataset), books.reserved(dataset)
        history.runs = run_records(books, dataset)
    return {dataset: found[dataset] for dataset in sorted(found)}


def _note(history: History, entry: Entry, following: Entry | None, books: Books) -> None:
    when = datetime.fromisoformat(entry.time)
    spent, reserved = books.spent(history.dataset), books.reserved(history.dataset)
    if entry.kind == "refund":  # the line falls from what stood there before
        history.states[-1] = replace(history.states[-1], is_landmark=True)
    history.states.append(State(when, spent, reserved, entry.kind in LANDMARKS))
    run = entry.run
    if entry.kind == "plan":
        history.newest_budget = entry.budget or history.newest_budget
    if entry.kind == "refund" and run is not None:
        history.refunds.append(Refund(when, run.run_id, run.name, entry.steps, entry.reason))
    if entry.kind == "close" and run is not None and not _replaced(entry, following):
        before = history.given_back.get(run.run_id, 0)
        history.given_back[run.run_id] = before + entry.steps


def _replaced(closed: Entry, following: Entry | None) -> bool:
    """Whether a plan was closed only to make room for the same run's next one."""
    return (
        following is not None
        and following.kind == "plan"
        and (following.dataset, following.run) == (closed.dataset, closed.run)
    )


def _evenly(places: Sequence[int], most: int) -> list[int]:
    """At most ``most`` of ``places``, both ends among them."""
    if len(places) <= most:
        return list(places)
    step = (len(places) - 1) / (most - 1)
    return [places[round(number * step)] for number in range(most)]

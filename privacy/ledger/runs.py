"""What each run did, for the officer's table."""

from collections import Counter
from dataclasses import dataclass

from privacy.ledger.books import Books, RunBooks
from privacy.ledger.labels import Dataset, RunLabel
from privacy.mechanism import Mechanism, Spend


@dataclass(frozen=True)
class RunRecord:
    """One run on one dataset, over all its plans.

    ``spent`` counts ``lost`` in full: steps reserved by a fit that has not ended, or died.
    ``reserved`` are the undrawn steps of its open plan. Times are UTC, ISO 8601.
    """

    label: RunLabel
    begun: str
    latest: str
    spent: Spend
    lost: int
    reserved: Spend
    is_open: bool


def run_records(books: Books, dataset: Dataset) -> list[RunRecord]:
    """The records of all runs on ``dataset``, the earliest first."""
    return [_record(run) for (where, _), run in books.runs.items() if where == dataset]


def _record(run: RunBooks) -> RunRecord:
    reserved: Counter[Mechanism] = Counter()
    if run.plan is not None:
        reserved[run.plan.mechanism] = run.plan.remaining
    return RunRecord(
        run.label,
        run.begun,
        run.latest,
        +run.spent,
        sum(reservation.steps for reservation in run.lost),
        +reserved,
        run.plan is not None,
    )

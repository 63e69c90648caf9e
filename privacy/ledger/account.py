"""One run's right to take noisy steps at this site: reserve, train, settle."""

from collections import Counter
from collections.abc import Sequence

from fedefm.errors import BudgetExhausted, PrivacyError
from fedefm.words import several
from privacy.ledger.books import Books, Plan, RunBooks
from privacy.ledger.entry import Entry, Kind
from privacy.ledger.heads import Head
from privacy.ledger.journal import Journal
from privacy.mechanism import Mechanism


class Account:
    """An open plan. A reservation that is never settled, because the fit died, stays spent."""

    def __init__(self, journal: Journal, plan: int) -> None:
        self._journal = journal
        self._sequence = plan
        self._unsettled: set[int] = set()  # reservations made here; others' stay spent

    @property
    def mechanism(self) -> Mechanism:
        """The noisy step that the plan allows."""
        return self._plan(self._journal.books).mechanism

    @property
    def remaining(self) -> int:
        """Steps that may still be reserved; 0 where the plan was closed, replaced or refunded."""
        self._journal.refresh()
        return self._plan(self._journal.books).remaining

    def reserve(self, steps: int) -> int:
        """Count ``steps`` as spent; they may be taken once this returns. Gives the reservation.

        Raises BudgetExhausted where the plan has fewer left, PrivacyError where the plan is over
        or the entry could not be put on the disk and witnessed: then nothing may be trained.
        """

        def draft(books: Books) -> Sequence[Entry]:
            plan = self._plan(books)
            _require_open(plan)
            if not 1 <= steps <= plan.remaining:
                raise BudgetExhausted(
                    f"run {plan.run.name!r} asks for {several(steps, 'step')} on "
                    f"{plan.dataset.name!r}, and "
                    f"its plan has {plan.remaining} of {plan.steps} left; start it with a plan "
                    "that covers all its steps"
                )
            return [_entry("reserve", plan, steps, plan.sequence)]

        (entry,) = self._journal.append(draft)
        self._unsettled.add(entry.sequence)
        return entry.sequence

    def settle(self, reservation: int, steps: int) -> None:
        """Say how many steps of ``reservation`` were taken; the others can be reserved again.

        Raises PrivacyError where it was settled or refunded before, or is not of this account.
        """

        def draft(books: Books) -> Sequence[Entry]:
            found = books.reservation(reservation)
            if found is None or not found.is_open or reservation not in self._unsettled:
                raise PrivacyError(
                    f"reservation {reservation} cannot be settled: it was settled or refunded "
                    "before, or another process made it. Its steps stay as the ledger has them"
                )
            if not 0 <= steps <= found.steps:
                raise PrivacyError(
                    f"reservation {reservation} is of {several(found.steps, 'step')}, and {steps} "
                    "were to be "
                    "settled; never take more steps than were reserved"
                )
            return [_entry("settle", found.plan, steps, reservation)]

        self._journal.append(draft)
        self._unsettled.discard(reservation)

    def close(self) -> None:
        """Give back the steps that were never reserved. Does nothing where the plan is over."""

        def draft(books: Books) -> Sequence[Entry]:
            plan = self._plan(books)
            return [closing(plan, "the run ended")] if plan.is_open else []

        self._journal.append(draft)

    def spent(self) -> Counter[Mechanism]:
        """What this run spent on the dataset, over all its plans; lost reservations in full."""
        self._journal.refresh()
        return +self._run().spent

    def reference(self) -> str:
        """The hash of this run's newest settled entry; empty where there is none."""
        self._journal.refresh()
        return self._run().reference

    def head(self) -> Head:
        """The ledger's newest entry, for somebody outside to remember."""
        self._journal.refresh()
        return self._journal.chain.head

    def _plan(self, books: Books) -> Plan:
        return books.plan(self._sequence)

    def _run(self) -> RunBooks:
        plan = self._plan(self._journal.books)
        return self._journal.books.runs[plan.dataset, plan.run.run_id]


def closing(plan: Plan, reason: str) -> Entry:
    """The entry that gives back what ``plan`` has left."""
    return _entry("close", plan, plan.remaining, plan.sequence, reason)


def refunding(plan: Plan, steps: int, refers: int, reason: str) -> Entry:
    """The officer's entry that gives back a reservation of ``plan``, or what the plan has left."""
    return _entry("refund", plan, steps, refers, reason)


def _entry(kind: Kind, plan: Plan, steps: int, refers: int, reason: str = "") -> Entry:
    return Entry(
        kind,
        dataset=plan.dataset,
        run=plan.run,
        mechanism=plan.mechanism,
        steps=steps,
        refers=refers,
        reason=reason,
    )


def _require_open(plan: Plan) -> None:
    if not plan.is_open:
        raise PrivacyError(
            f"the plan of run {plan.run.name!r} on {plan.dataset.name!r} is over: it was closed, "
            "replaced by a newer one, or refunded. Start or resume the run to make a new plan"
        )

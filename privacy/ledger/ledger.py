"""The record of everything that was ever spent on this site's patients, and the only way to spend.

A plan promises all steps of a run, and is refused where they would exceed the cap. From it each
fit reserves its steps, on the disk before the fit begins, and settles them afterwards. What dies
in between stays spent. Only an officer's refund, with a reason, takes a reservation back.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from fedefm.errors import PrivacyError
from fedefm.words import several
from privacy.ledger.account import Account, closing, refunding
from privacy.ledger.books import Books, Plan
from privacy.ledger.budget import Totals, refuse_overspending, totals
from privacy.ledger.entry import Entry
from privacy.ledger.heads import Head, default_witness
from privacy.ledger.journal import Journal
from privacy.ledger.labels import Budget, Dataset, RunLabel
from privacy.ledger.opening import open_for_reading, open_for_writing
from privacy.ledger.runs import RunRecord, run_records
from privacy.mechanism import Mechanism, Spend, together


class Ledger:
    """One site's ledger, open. Several processes may have it open at once."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @classmethod
    def open(
        cls,
        path: Path,
        site: str,
        witness: Path | None = None,
        known_head: Head | None = None,
        create: bool = True,
        read_only: bool = False,
    ) -> "Ledger":
        """The ledger at ``path``, verified whole.

        ``witness`` None: a file beside the ledger. ``known_head`` is one that the server
        remembers. Read-only, it needs neither the key nor the right to write, and stays as it was
        when it was opened. Raises LedgerCorrupt where chain, signatures or heads do not verify,
        and PrivacyError where it is another site's, missing, locked or not writable.
        """
        path = Path(path).absolute()
        witness = Path(witness).absolute() if witness else default_witness(path)
        if read_only:
            return cls(open_for_reading(path, site, witness, known_head))
        return cls(open_for_writing(path, site, witness, known_head, create))

    def plan(
        self, dataset: Dataset, run: RunLabel, mechanism: Mechanism, steps: int, budget: Budget
    ) -> Account:
        """Promise ``steps`` to a run, in place of the open plan that it may have.

        Raises BudgetExhausted, with nothing written, where all that was spent, all that other
        runs were promised and these steps together exceed the budget's cap.
        """
        if steps < 1:
            raise PrivacyError(
                f"a plan of {several(steps, 'step')} for run {run.name!r}; plan at least one"
            )

        wanted = {mechanism: steps}
        new = Entry(
            "plan", dataset=dataset, run=run, mechanism=mechanism, steps=steps, budget=budget
        )
        while True:  # each further turn means that another plan came, ended or was refunded
            self._journal.refresh()
            spent, reserved = _of_others(self._journal.books, dataset, run)
            refuse_overspending(dataset, spent, reserved, wanted, budget)
            counted = together(spent, reserved)

            def draft(books: Books, counted: Spend = counted) -> Sequence[Entry]:
                # composing takes a second or more, so it is not done alone with the file
                if together(*_of_others(books, dataset, run)) != counted:
                    return []
                old = _open_plan(books, dataset, run.run_id)
                reason = "replaced by a new plan of the same run"
                return [closing(old, reason), new] if old else [new]

            entries = self._journal.append(draft)
            if entries:
                return Account(self._journal, entries[-1].sequence)

    def account(self, dataset: Dataset, run_id: str) -> Account | None:
        """The open plan of a run, to go on with it."""
        self._journal.refresh()
        plan = _open_plan(self._journal.books, dataset, run_id)
        return Account(self._journal, plan.sequence) if plan else None

    def refund(self, dataset: Dataset, run_id: str, reason: str) -> list[Entry]:
        """The officer's word that a dead run took no more steps than it settled.

        Gives back its open plan, and its reservations without settlement. The run cannot go on
        with that plan. Raises PrivacyError where there is no reason, or nothing to give back.
        """
        if not reason.strip():
            raise PrivacyError("a refund needs a reason, which stays in the ledger for ever")

        def draft(books: Books) -> Sequence[Entry]:
            run = books.run(dataset, run_id)
            if run is None or not (run.plan or run.lost):
                raise PrivacyError(
                    f"run {run_id!r} has neither an open plan nor an unsettled reservation on "
                    f"{dataset.name!r} (unit {dataset.unit}); there is nothing to refund"
                )
            back = [refunding(r.plan, r.steps, r.sequence, reason) for r in run.lost]
            if run.plan is not None:
                plan = run.plan
                back.append(refunding(plan, plan.remaining, plan.sequence, reason))
            return back

        return self._journal.append(draft)

    def spent(self, dataset: Dataset) -> Counter[Mechanism]:
        """Steps settled, and in full those reserved and not settled."""
        self._journal.refresh()
        return self._journal.books.spent(dataset)

    def reserved(self, dataset: Dataset) -> Counter[Mechanism]:
        """Steps of open plans that were not drawn."""
        self._journal.refresh()
        return self._journal.books.reserved(dataset)

    def totals(self, dataset: Dataset, budget: Budget) -> Totals:
        """Spent, reserved and left as epsilons under ``budget``."""
        return totals(self.spent(dataset), self.reserved(dataset), budget)

    def datasets(self) -> list[Dataset]:
        """All that have entries, sorted."""
        self._journal.refresh()
        return self._journal.books.datasets()

    def runs(self, dataset: Dataset) -> list[RunRecord]:
        """What each run did on ``dataset``, the earliest first."""
        self._journal.refresh()
        return run_records(self._journal.books, dataset)

    def is_settled(self, reference: str, run_id: str) -> bool:
        """Whether ``reference`` is the hash of a settled entry of that run."""
        self._journal.refresh()
        return self._journal.books.settled.get(reference) == run_id

    def entries(self) -> list[Entry]:
        """All entries in order."""
        self._journal.refresh()
        return list(self._journal.chain.entries)

    def head(self) -> Head:
        """The newest entry, for somebody outside to remember."""
        self._journal.refresh()
        return self._journal.chain.head

    def close(self) -> None:
        """Let go of the file; plans stay open."""
        self._journal.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open_plan(books: Books, dataset: Dataset, run_id: str) -> Plan | None:
    run = books.run(dataset, run_id)
    return run.plan if run else None


def _of_others(books: Books, dataset: Dataset, run: RunLabel) -> tuple[Spend, Spend]:
    """What was spent on the dataset by all, and what is reserved by all runs but this one."""
    reserved = books.reserved(dataset)
    plan = _open_plan(books, dataset, run.run_id)
    if plan is not None:
        reserved[plan.mechanism] -= plan.remaining
    return books.spent(dataset), +reserved

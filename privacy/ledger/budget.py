"""What a dataset may still spend. Epsilons are of everything together, never added up."""

from dataclasses import dataclass

from fedefm.errors import BudgetExhausted
from fedefm.words import several
from privacy.accountant import epsilon
from privacy.ledger.labels import Budget, Dataset
from privacy.mechanism import Spend, together


@dataclass(frozen=True)
class Totals:
    """Epsilons of a dataset at a budget's delta and adjacency.

    ``spent`` is what was done; ``reserved`` is how much the undrawn steps of open plans would add;
    ``left`` is what the cap leaves after both, None without a cap.
    """

    spent: float
    reserved: float
    left: float | None


def totals(spent: Spend, reserved: Spend, budget: Budget) -> Totals:
    """What ``spent`` and ``reserved`` come to under ``budget``."""
    done = epsilon(spent, budget.delta, budget.adjacency)
    both = epsilon(together(spent, reserved), budget.delta, budget.adjacency) if reserved else done
    left = None if budget.cap is None else max(0.0, budget.cap - both)
    return Totals(done, max(0.0, both - done), left)


def refuse_overspending(
    dataset: Dataset, spent: Spend, reserved: Spend, wanted: Spend, budget: Budget
) -> None:
    """Raises BudgetExhausted where spent, reserved and wanted together exceed the cap."""
    if budget.cap is None:
        return
    everything = epsilon(together(spent, reserved, wanted), budget.delta, budget.adjacency)
    if everything <= budget.cap:
        return
    now = totals(spent, reserved, budget)
    alone = epsilon(wanted, budget.delta, budget.adjacency)
    steps = sum(wanted.values())
    raise BudgetExhausted(
        f"dataset {dataset.name!r} may spend epsilon {budget.cap:g} at delta {budget.delta:g}: "
        f"{now.spent:.3f} is spent, {now.reserved:.3f} reserved by open plans, {now.left:.3f} left."
        f" This run wants {alone:.3f} ({several(steps, 'step')}), together {everything:.3f}. "
        "Train fewer steps or with more noise, wait for open plans to end, or ask the privacy "
        "officer for a higher cap in the site file",
        f"this run wants epsilon {alone:.3f} ({several(steps, 'step')}), which would exceed what "
        "the site's "
        "epsilon cap leaves. Train fewer steps or with more noise, or ask the site's privacy "
        "officer",
    )

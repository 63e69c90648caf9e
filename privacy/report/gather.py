"""From the ledger's history to the facts of the page: every epsilon is computed here."""

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime

from privacy.accountant import INTERVAL, epsilon, epsilon_prv, epsilon_rdp
from privacy.ledger import Budget, Dataset, Entry, RunRecord
from privacy.mechanism import Mechanism, Spend, own_noise, together
from privacy.report.facts import DatasetFacts, Epsilons, Job, Moment, Use
from privacy.report.history import History, State, histories

DRAWN_INTERVAL = 5e-3  # of the figure: some per cent above the number of record at most
MOMENTS = 24  # of the figure, fewer where many mechanisms must be composed for each
LARGEST_CHECKED = 50.0  # above it PRV's grid outgrows the memory, and nothing is promised anyway
QUICK_PRV = 4  # mechanisms; its time grows with their square, 16 s for 28
WORK = 80  # mechanisms composed for a figure, in all


def dataset_facts(
    entries: Sequence[Entry],
    budgets: Mapping[Dataset, Budget],
    default: Budget,
    interval: float = INTERVAL,
    drawn: bool = True,
) -> tuple[DatasetFacts, ...]:
    """The facts of all datasets of a ledger, and of those of ``budgets`` that have no entry yet.

    A dataset that the site file names no more keeps the budget of its newest plan, without a cap
    counting for anything, else ``default``. ``drawn`` says whether epsilon over time is wanted.
    """
    found = dict(histories(entries))
    for dataset in budgets:
        found.setdefault(dataset, History(dataset, {}, {}, ()))
    return tuple(
        _facts(
            found[dataset],
            budgets.get(dataset) or found[dataset].newest_budget or default,
            interval,
            drawn,
        )
        for dataset in sorted(found)
    )


def _facts(history: History, budget: Budget, interval: float, drawn: bool) -> DatasetFacts:
    spent = _epsilons(history.spent, budget, interval)
    both = together(history.spent, history.reserved)
    committed = epsilon(both, budget.delta, budget.adjacency, interval)
    return DatasetFacts(
        name=history.dataset.name,
        unit=history.dataset.unit,
        cap=budget.cap,
        delta=budget.delta,
        adjacency=budget.adjacency,
        spent=spent,
        committed=committed,
        jobs=tuple(_job(run, history, budget) for run in history.runs),
        uses=_uses(history),
        refunds=tuple(history.refunds),
        moments=_moments(history, budget, spent.record, committed) if drawn else (),
        own_noise=_with_own_noise(history.spent, budget, interval),
    )


def _with_own_noise(spent: Spend, budget: Budget, interval: float) -> float | None:
    if all(mechanism.shares == 1 for mechanism in spent):
        return None
    return epsilon(own_noise(spent), budget.delta, budget.adjacency, interval)


def _epsilons(spent: Spend, budget: Budget, interval: float) -> Epsilons:
    record = epsilon(spent, budget.delta, budget.adjacency, interval)
    if not spent or budget.adjacency != "add_or_remove_one":
        return Epsilons(record, None, None)
    quick = len(spent) <= QUICK_PRV or interval < INTERVAL
    if record > LARGEST_CHECKED:
        return Epsilons(record, None, None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order")  # then RDP is looser, no more
        prv = epsilon_prv(spent, budget.delta) if quick else None
        return Epsilons(record, prv, epsilon_rdp(spent, budget.delta))


def _job(run: RunRecord, history: History, budget: Budget) -> Job:
    return Job(
        run_id=run.label.run_id,
        name=run.label.name,
        job=run.label.job,
        first=datetime.fromisoformat(run.begun),
        last=datetime.fromisoformat(run.latest),
        spent=dict(run.spent),
        reserved=dict(run.reserved),
        unsettled=run.lost,
        given_back=history.given_back.get(run.label.run_id, 0),
        epsilon=epsilon(run.spent, budget.delta, budget.adjacency),
    )


def _uses(history: History) -> tuple[Use, ...]:
    runs: dict[Mechanism, list[str]] = {}
    for run in history.runs:
        for mechanism in together(run.spent, run.reserved):
            runs.setdefault(mechanism, []).append(run.label.name)
    return tuple(
        Use(
            mechanism,
            history.spent.get(mechanism, 0),
            history.reserved.get(mechanism, 0),
            tuple(dict.fromkeys(runs.get(mechanism, ()))),
        )
        for mechanism in sorted(together(history.spent, history.reserved))
    )


def _moments(
    history: History, budget: Budget, spent: float, committed: float
) -> tuple[Moment, ...]:
    """Epsilon over time; the last moment is the number of record."""
    mechanisms = len(together(history.spent, history.reserved)) or 1
    states = history.moments(max(8, min(MOMENTS, WORK // mechanisms)))
    if not states:
        return ()
    last = Moment(states[-1].when, spent, committed)
    return (*(_moment(state, budget) for state in states[:-1]), last)


def _moment(state: State, budget: Budget) -> Moment:
    spent, both = (
        epsilon(spend, budget.delta, budget.adjacency, DRAWN_INTERVAL)
        for spend in (state.spent, together(state.spent, state.reserved))
    )
    return Moment(state.when, spent, both)

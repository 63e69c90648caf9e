"""The officer's tables on a terminal, the same as plain lines elsewhere, and as JSON."""

import math
from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from fedefm.words import several
from privacy.ledger import Entry
from privacy.report.facts import DatasetFacts, Job
from privacy.report.meaning import ADJACENCY
from privacy.report.numbers import below, epsilon, exact, to_the_minute

JOB_COLUMNS = ("run", "run id", "FLARE job", "first entry (UTC)", "last entry (UTC)")
STEP_COLUMNS = ("steps spent", "reserved", "not settled", "epsilon alone")
ENTRY_COLUMNS = ("entry", "time (UTC)", "kind", "dataset", "run", "steps", "of entry", "reason")


def status_table(facts: DatasetFacts) -> Table:
    """One dataset's jobs, under what is spent and left."""
    table = Table(title=Text(headline(facts)), title_justify="left", show_lines=False)
    for name in JOB_COLUMNS:
        table.add_column(name, overflow="fold")  # an id that is cut cannot be copied
    for name in STEP_COLUMNS:
        table.add_column(name, justify="right")
    for job in facts.jobs:
        table.add_row(*(Text(cell) for cell in _job_cells(job)))
    return table


def status_lines(facts: DatasetFacts) -> list[str]:
    """The same for logs and pipes."""
    return [headline(facts), *(f"  {_job_line(job)}" for job in facts.jobs)]


def _job_line(job: Job) -> str:
    first, last, _, reserved, unsettled, alone = _job_cells(job)[3:]
    spent = sum(job.spent.values())
    known = f"{job.run_id}, FLARE job {job.job}" if job.job else job.run_id
    lost = f", {unsettled} of them not settled" if job.unsettled else ""
    held = f", {reserved} reserved" if job.reserved else ""
    return (
        f"{job.name} ({known}): {several(spent, 'step')} spent{lost}{held}, epsilon alone {alone}, "
        f"{first} to {last} UTC"
    )


def headline(facts: DatasetFacts) -> str:
    """What is spent, reserved and left, with everything that gives the number a meaning."""
    limit = "no cap" if facts.cap is None else f"cap {exact(facts.cap)}"
    left = "" if facts.left is None else f", left {below(facts.left)}"
    return (
        f"{facts.name}: epsilon spent {epsilon(facts.spent.record)}, reserved "
        f"{epsilon(facts.reserved)}{left} ({limit}; per {facts.unit}, delta {exact(facts.delta)}, "
        f"{ADJACENCY[facts.adjacency]} {facts.unit}{_rests_on(facts)})"
    )


def _rests_on(facts: DatasetFacts) -> str:
    if facts.own_noise is None:
        return ""
    return (
        f"; counts on noise of up to {facts.shares} honest sites together, and with this site's "
        f"own alone epsilon is {epsilon(facts.own_noise)}"
    )


def _job_cells(job: Job) -> list[str]:
    return [
        job.name,
        job.run_id,
        job.job or "-",
        to_the_minute(job.first),
        to_the_minute(job.last),
        str(sum(job.spent.values())),
        str(sum(job.reserved.values())),
        str(job.unsettled),
        epsilon(job.epsilon),
    ]


def dataset_json(facts: DatasetFacts) -> dict[str, Any]:
    """One dataset for scripts."""
    return {
        "name": facts.name,
        "unit": facts.unit,
        "cap": facts.cap,
        "delta": facts.delta,
        "adjacency": facts.adjacency,
        "spent": _finite(facts.spent.record),
        "reserved": _finite(facts.reserved),
        "left": facts.left,
        "noise_shares": facts.shares,
        "spent_own_noise": None if facts.own_noise is None else _finite(facts.own_noise),
        "jobs": [_job_json(job) for job in facts.jobs],
    }


def _job_json(job: Job) -> dict[str, Any]:
    return {
        "run_id": job.run_id,
        "name": job.name,
        "job": job.job,
        "first": job.first.isoformat(),
        "last": job.last.isoformat(),
        "steps_spent": sum(job.spent.values()),
        "steps_reserved": sum(job.reserved.values()),
        "steps_not_settled": job.unsettled,
        "epsilon_alone": _finite(job.epsilon),
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity; None is an epsilon without bound."""
    return value if math.isfinite(value) else None


def entries_table(entries: Iterable[Entry]) -> Table:
    """One row an entry."""
    table = Table()
    for name in ENTRY_COLUMNS:
        table.add_column(
            name, justify="right" if name in ("entry", "steps", "of entry") else "left"
        )
    for entry in entries:
        table.add_row(*(Text(cell) for cell in _entry_cells(entry)))
    return table


def entries_lines(entries: Iterable[Entry]) -> list[str]:
    """The same for logs and pipes, columns apart by tabs."""
    rows = [ENTRY_COLUMNS, *(_entry_cells(entry) for entry in entries)]
    return ["\t".join(row) for row in rows]


def _entry_cells(entry: Entry) -> tuple[str, ...]:
    return (
        str(entry.sequence),
        entry.time[:19].replace("T", " "),
        entry.kind,
        entry.dataset.name if entry.dataset else "",
        entry.run.name if entry.run else "",
        str(entry.steps) if entry.run else "",
        str(entry.refers or ""),
        " ".join(entry.reason.split()) or _shared(entry),
    )


def _shared(entry: Entry) -> str:
    shares = 1 if entry.mechanism is None else entry.mechanism.shares
    return "" if shares == 1 else f"noise made by at least {shares} honest sites"

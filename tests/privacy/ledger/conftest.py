"""A ledger in an empty folder, and an accountant whose epsilons can be added in the head."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from privacy.ledger import Account, Budget, Dataset, Ledger, RunLabel
from privacy.mechanism import Mechanism


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def chest() -> Dataset:
    return Dataset("chest", "patient")


@pytest.fixture
def step() -> Mechanism:
    return Mechanism(noise_multiplier=1.0, sampling_rate=0.1, dataset_size=100, batch_cap=30)


@pytest.fixture
def run() -> Callable[[str], RunLabel]:
    """The label of a run by its name."""
    return lambda name: RunLabel(f"id-of-{name}", name, "job-1")


@pytest.fixture
def cap() -> Callable[[float | None], Budget]:
    """The budget with a cap."""
    return lambda epsilon: Budget(epsilon, 1e-5, "add_or_remove_one")


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(path, "north") as opened:
        yield opened


@pytest.fixture
def account(ledger: Ledger, chest, run, step, cap) -> Account:
    """The open plan of run "first": 20 steps."""
    return ledger.plan(chest, run("first"), step, 20, cap(None))


@pytest.fixture
def a_step_costs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epsilon is the number of steps."""
    monkeypatch.setattr(
        "privacy.ledger.budget.epsilon",
        lambda spend, delta, adjacency: float(sum(spend.values())),
    )

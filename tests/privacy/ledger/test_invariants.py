"""Whatever jobs and officers do, in any order, through any number of openings."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from fedefm.errors import BudgetExhausted, PrivacyError
from privacy.ledger import Budget, Dataset, Ledger, RunLabel, budget, verify
from privacy.mechanism import Mechanism

CHEST = Dataset("chest", "patient")
MECHANISMS = [Mechanism(noise, 0.1, 100, 30) for noise in (1.0, 2.0)]
CAP = 40
BUDGET = Budget(CAP, 1e-5, "add_or_remove_one")
RUNS = st.sampled_from(["a", "b", "c"])


class Jobs(RuleBasedStateMachine):
    """A ledger beside a model of it that keeps plain numbers."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.real_epsilon = budget.epsilon
        budget.epsilon = lambda spend, delta, adjacency: float(sum(spend.values()))
        self.ledger = self.opened()
        self.accounts = {}  # run -> account
        self.left = {}  # run -> (mechanism, undrawn steps) of its open plan
        self.open = {}  # reservation -> (run, account, mechanism, steps)
        self.lost = []  # (run, mechanism, steps): by processes that are gone
        self.settled = Counter()
        self.before = None

    def opened(self):
        return Ledger.open(self.folder / "ledger.db", "north")

    def counted(self):
        """What is spent, by the model."""
        total = Counter(self.settled)
        for _, _, mechanism, steps in self.open.values():
            total[mechanism] += steps
        for _, mechanism, steps in self.lost:
            total[mechanism] += steps
        return +total

    def promised(self, but=None):
        total = Counter()
        for run, (mechanism, steps) in self.left.items():
            if run != but:
                total[mechanism] += steps
        return +total

    @rule(run=RUNS, mechanism=st.sampled_from(MECHANISMS), steps=st.integers(1, 25))
    def plan(self, run, mechanism, steps):
        everything = (self.counted() + self.promised(but=run)).total() + steps
        entries = self.ledger.entries()
        label = RunLabel(run, f"run-{run}")
        if everything > CAP:
            with pytest.raises(BudgetExhausted):
                self.ledger.plan(CHEST, label, mechanism, steps, BUDGET)
            assert self.ledger.entries() == entries
            return
        self.accounts[run] = self.ledger.plan(CHEST, label, mechanism, steps, BUDGET)
        self.left[run] = (mechanism, steps)

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), steps=st.integers(1, 8))
    def reserve(self, data, steps):
        run = data.draw(st.sampled_from(sorted(self.accounts)))
        account = self.accounts[run]
        mechanism, left = self.left.get(run, (None, 0))
        if steps > left:
            with pytest.raises(PrivacyError):
                account.reserve(steps)
            return
        self.open[account.reserve(steps)] = (run, account, mechanism, steps)
        self.left[run] = (mechanism, left - steps)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data):
        reservation = data.draw(st.sampled_from(sorted(self.open)))
        run, account, mechanism, reserved = self.open.pop(reservation)
        steps = data.draw(st.integers(0, reserved))
        was_remaining = account.remaining
        account.settle(reservation, steps)
        self.settled[mechanism] += steps
        if self.accounts.get(run) is account and run in self.left:
            self.left[run] = (mechanism, self.left[run][1] + reserved - steps)
            assert account.remaining == was_remaining + reserved - steps
        with pytest.raises(PrivacyError):
            account.settle(reservation, 0)

    @precondition(lambda self: self.accounts)
    @rule(data=st.data())
    def close(self, data):
        run = data.draw(st.sampled_from(sorted(self.accounts)))
        self.accounts[run].close()
        self.left.pop(run, None)

    @rule(run=RUNS)
    def refund(self, run):
        has = run in self.left
        has |= any(each[0] == run for each in [*self.open.values(), *self.lost])
        if not has:
            with pytest.raises(PrivacyError):
                self.ledger.refund(CHEST, run, "nothing ran")
            return
        self.ledger.refund(CHEST, run, "nothing ran")
        self.left.pop(run, None)
        self.open = {key: each for key, each in self.open.items() if each[0] != run}
        self.lost = [each for each in self.lost if each[0] != run]
        self.before = None  # only here may the sum of both go down, but for a close

    @rule()
    def the_process_dies_and_another_goes_on(self):
        self.ledger.close()
        self.ledger = self.opened()
        self.lost += [(run, mechanism, steps) for run, _, mechanism, steps in self.open.values()]
        self.open = {}
        self.accounts = {run: self.ledger.account(CHEST, run) for run in self.left}

    @invariant()
    def the_ledger_agrees_with_the_model(self):
        assert self.ledger.spent(CHEST) == self.counted()
        assert self.ledger.reserved(CHEST) == self.promised()
        for run, (mechanism, steps) in self.left.items():
            account = self.ledger.account(CHEST, run)
            assert (account.mechanism, account.remaining) == (mechanism, steps)

    @invariant()
    def spent_and_reserved_stay_within_the_cap(self):
        both = self.ledger.spent(CHEST) + self.ledger.reserved(CHEST)
        assert both.total() <= CAP

    @invariant()
    def what_was_settled_stays_spent(self):
        if self.before is not None:
            assert self.settled >= self.before
        assert self.ledger.spent(CHEST) >= self.settled
        self.before = Counter(self.settled)

    @invariant()
    def the_chain_verifies(self):
        assert verify(self.folder / "ledger.db", "north") == []

    def teardown(self):
        if hasattr(self, "ledger"):
            self.ledger.close()
            budget.epsilon = self.real_epsilon
            shutil.rmtree(self.folder)


TestJobs = Jobs.TestCase
TestJobs.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)

"""Nothing leaves a private site but under an entry of its own ledger, of the run that it is for."""

from dataclasses import replace

import pytest
import torch

from fedefm.errors import PolicyRefused
from fedefm.train.message import Postbox
from privacy.accountant import epsilon
from privacy.gate import Facts, Gate
from privacy.ledger import Budget, Dataset, Ledger, RunLabel
from privacy.mechanism import Mechanism
from privacy.policy import Promise

STEP = Mechanism(2.0, 0.1, 50, 50)
PATIENTS = Dataset("pretraining", "patient")
PROMISE = Promise(PATIENTS, 50, 1e-4, "add_or_remove_one", Budget(None, 1e-4, "add_or_remove_one"))
WEIGHTS = {"w": torch.ones(2)}


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "ledger.sqlite", "north") as opened:
        yield opened


def account_of(ledger, run_id="r1", steps=10):
    return ledger.plan(PATIENTS, RunLabel(run_id, "run"), STEP, steps, PROMISE.budget)


def gate_of(ledger, account, run_id="r1"):
    return Gate("north", run_id, ledger, account, PROMISE, Facts(1.0, 2, 3.0), {"steps": 10})


def spend(account, steps=1):
    account.settle(account.reserve(steps), steps)


def sealed(gate, **changes):
    message = Postbox("north", "job", "id", gate).seal(0, "sum", "east", WEIGHTS)
    return replace(message.header, **changes)


def test_a_message_carries_the_newest_settled_entry_and_leaves(ledger):
    account = account_of(ledger)
    spend(account)
    gate = gate_of(ledger, account)
    first = sealed(gate).mechanism
    assert first == f"dp:{account.reference()}"
    spend(account)
    assert sealed(gate).mechanism not in (first, "none")


def test_a_site_whose_trainer_was_bypassed_can_send_nothing(ledger):
    gate = gate_of(ledger, account_of(ledger))
    assert gate.mechanism() == "none"
    with pytest.raises(PolicyRefused, match="site 'north' lets nothing leave"):
        sealed(gate)


def test_steps_reserved_and_not_settled_let_nothing_out(ledger):
    account = account_of(ledger)
    account.reserve(3)
    with pytest.raises(PolicyRefused):
        sealed(gate_of(ledger, account))


@pytest.mark.parametrize("forged", ["none", "", "dp:", "dp:" + "0" * 64, "{entry}", "DP:{entry}"])
def test_a_header_without_a_settled_entry_is_stopped(ledger, forged):
    account = account_of(ledger)
    spend(account)
    gate, entry = gate_of(ledger, account), account.reference()
    gate.check(sealed(gate))
    with pytest.raises(PolicyRefused):
        gate.check(sealed(gate, mechanism=forged.format(entry=entry)))


def test_an_entry_of_another_run_does_not_count(ledger):
    other, own = account_of(ledger, "r2"), account_of(ledger, "r1")
    spend(other)
    spend(own)
    gate = gate_of(ledger, own)
    with pytest.raises(PolicyRefused):
        gate.check(sealed(gate, mechanism=f"dp:{other.reference()}"))


def test_a_reservation_is_no_settlement(ledger):
    account = account_of(ledger)
    spend(account)
    account.reserve(1)
    gate = gate_of(ledger, account)
    for entry in ledger.entries():
        stamped = sealed(gate, mechanism=f"dp:{entry.hash}")
        if entry.hash == account.reference():
            gate.check(stamped)
        else:
            with pytest.raises(PolicyRefused):
                gate.check(stamped)


def test_the_result_counts_what_was_reserved_and_names_all_that_an_epsilon_needs(ledger):
    account = account_of(ledger)
    spend(account, 4)
    account.reserve(2)
    result = gate_of(ledger, account).result()
    assert result["steps"] == 6
    assert result["epsilon"] == epsilon({STEP: 6}, 1e-4)
    said = {name: result[name] for name in ("delta", "unit", "adjacency", "units", "clip_norm")}
    assert said == {
        "delta": 1e-4,
        "unit": "patient",
        "adjacency": "add_or_remove_one",
        "units": 50,
        "clip_norm": 1.0,
    }
    assert result["accountant"].startswith("PLD")
    assert result["mechanisms"] == [{**STEP.to_json(), "steps": 6}]


def test_a_run_that_ends_gives_back_what_it_never_drew_and_one_that_stops_does_not(ledger):
    account = account_of(ledger)
    spend(account, 4)
    gate = gate_of(ledger, account)
    assert sum(ledger.reserved(PATIENTS).values()) == 6
    gate.finish()
    assert sum(ledger.reserved(PATIENTS).values()) == 0
    assert gate.result()["steps"] == 4

"""A plan is refused where everything together exceeds the cap, and then nothing is written."""

import pytest

from fedefm.errors import BudgetExhausted, PrivacyError
from privacy.accountant import epsilon
from privacy.ledger import Ledger
from privacy.ledger.ledger import Account


def test_a_plan_reserves_all_its_steps(ledger, account, chest, step, run):
    assert ledger.reserved(chest) == {step: 20}
    assert ledger.spent(chest) == {}
    assert account.mechanism == step
    assert account.remaining == 20


def test_plans_up_to_the_cap_are_taken_and_the_next_is_not(
    a_step_costs_one, ledger, chest, step, run, cap
):
    ledger.plan(chest, run("first"), step, 60, cap(100.0))
    ledger.plan(chest, run("second"), step, 40, cap(100.0))
    before = ledger.entries()
    with pytest.raises(BudgetExhausted):
        ledger.plan(chest, run("third"), step, 1, cap(100.0))
    assert ledger.entries() == before
    assert ledger.account(chest, run("third").run_id) is None


def test_what_was_spent_counts_like_what_is_planned(
    a_step_costs_one, ledger, chest, step, run, cap
):
    account = ledger.plan(chest, run("first"), step, 60, cap(100.0))
    account.reserve(10)  # lost
    account.settle(account.reserve(30), 30)
    account.close()
    ledger.plan(chest, run("second"), step, 60, cap(100.0))
    with pytest.raises(BudgetExhausted):
        ledger.plan(chest, run("third"), step, 1, cap(100.0))


def test_the_refusal_names_cap_spent_reserved_left_wanted_and_a_way_out(
    a_step_costs_one, ledger, chest, step, run, cap
):
    account = ledger.plan(chest, run("first"), step, 60, cap(100.0))
    account.reserve(10)
    with pytest.raises(BudgetExhausted) as refusal:
        ledger.plan(chest, run("second"), step, 41, cap(100.0))
    said = str(refusal.value)
    for part in ("'chest'", "epsilon 100 ", "10.000 is spent", "50.000 reserved", "40.000 left"):
        assert part in said
    for part in ("wants 41.000", "together 101.000", "higher cap in the site file"):
        assert part in said


def test_epsilons_are_of_everything_together_and_not_added_up(ledger, chest, step, run, cap):
    alone = epsilon({step: 50}, 1e-5)
    both = epsilon({step: 100}, 1e-5)
    assert both < 1.6 * alone  # adding up would give 2
    ledger.plan(chest, run("first"), step, 50, cap(both))
    ledger.plan(chest, run("second"), step, 50, cap(both))
    with pytest.raises(BudgetExhausted):
        ledger.plan(chest, run("third"), step, 1, cap(both))


def test_a_dataset_does_not_pay_for_another(a_step_costs_one, ledger, chest, step, run, cap):
    ledger.plan(chest, run("first"), step, 100, cap(100.0))
    ledger.plan(type(chest)("head", "patient"), run("first"), step, 100, cap(100.0))


def test_a_cap_that_was_lowered_holds_for_the_next_plan(
    a_step_costs_one, ledger, chest, step, run, cap
):
    ledger.plan(chest, run("first"), step, 50, cap(100.0))
    with pytest.raises(BudgetExhausted, match=r"0\.000 left"):
        ledger.plan(chest, run("second"), step, 1, cap(20.0))
    assert ledger.totals(chest, cap(20.0)).left == 0


def test_totals_add_up_to_the_cap(a_step_costs_one, ledger, chest, step, run, cap):
    ledger.plan(chest, run("first"), step, 50, cap(100.0)).reserve(20)
    totals = ledger.totals(chest, cap(100.0))
    assert (totals.spent, totals.reserved, totals.left) == (20, 30, 50)
    assert ledger.totals(chest, cap(None)).left is None


def test_an_empty_dataset_has_everything_left(ledger, chest, cap):
    totals = ledger.totals(chest, cap(3.0))
    assert (totals.spent, totals.reserved, totals.left) == (0, 0, 3.0)


def test_a_new_plan_of_the_same_run_takes_the_place_of_the_old_one(
    a_step_costs_one, ledger, chest, step, run, cap
):
    old = ledger.plan(chest, run("first"), step, 80, cap(100.0))
    old.settle(old.reserve(10), 10)
    noisier = type(step)(1.5, 0.1, 100, 30)
    new = ledger.plan(chest, run("first"), noisier, 90, cap(100.0))
    assert ledger.reserved(chest) == {noisier: 90}
    assert ledger.spent(chest) == {step: 10}
    assert [entry.kind for entry in ledger.entries()[-2:]] == ["close", "plan"]
    assert new.spent() == {step: 10}
    with pytest.raises(PrivacyError, match="replaced by a newer one"):
        old.reserve(1)
    new.reserve(90)


def test_a_replacement_beyond_the_cap_leaves_the_old_plan_as_it_was(
    a_step_costs_one, ledger, chest, step, run, cap
):
    old = ledger.plan(chest, run("first"), step, 80, cap(100.0))
    before = ledger.entries()
    with pytest.raises(BudgetExhausted, match=r"0\.000 reserved"):
        ledger.plan(chest, run("first"), step, 101, cap(100.0))
    assert ledger.entries() == before
    assert old.remaining == 80


@pytest.mark.parametrize("steps", [0, -5])
def test_a_plan_without_steps_is_refused(ledger, chest, step, run, cap, steps):
    with pytest.raises(PrivacyError, match="plan at least one"):
        ledger.plan(chest, run("first"), step, steps, cap(None))


def test_a_resumed_run_goes_on_with_its_plan(path, chest, step, run, cap):
    with Ledger.open(path, "north") as first:
        account = first.plan(chest, run("first"), step, 20, cap(None))
        account.settle(account.reserve(5), 5)
        reference = account.reference()
    with Ledger.open(path, "north") as second:
        resumed = second.account(chest, run("first").run_id)
        assert isinstance(resumed, Account)
        assert resumed.mechanism == step
        assert resumed.remaining == 15
        assert resumed.reference() == reference
        resumed.settle(resumed.reserve(15), 15)


def test_the_policy_in_force_stands_in_the_plan(ledger, chest, step, run, cap):
    ledger.plan(chest, run("first"), step, 5, cap(9.0))
    assert ledger.entries()[-1].budget == cap(9.0)
    assert ledger.entries()[-1].run == run("first")


def test_a_plan_that_came_meanwhile_is_counted(monkeypatch, path, ledger, chest, step, run, cap):
    """Epsilon is computed before the file is held; who plans in that time must not be missed."""

    def epsilon(spend, delta, adjacency):
        other, meanwhile[:] = meanwhile[:1], []
        for name in other:
            with Ledger.open(path, "north") as elsewhere:
                elsewhere.plan(chest, run(name), step, 60, cap(None))
        return float(sum(spend.values()))

    meanwhile = ["second"]
    monkeypatch.setattr("privacy.ledger.budget.epsilon", epsilon)
    with pytest.raises(BudgetExhausted, match=r"60\.000 reserved"):
        ledger.plan(chest, run("first"), step, 60, cap(100.0))
    assert ledger.reserved(chest) == {step: 60}
    ledger.plan(chest, run("first"), step, 40, cap(100.0))

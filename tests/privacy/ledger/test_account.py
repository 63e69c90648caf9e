"""Reserve, train, settle: what was reserved and not settled stays spent."""

import pytest

from fedefm.errors import BudgetExhausted, PrivacyError
from privacy.ledger import Ledger, verify


def test_a_reservation_is_spent_before_it_is_settled(ledger, account, chest, step):
    account.reserve(5)
    assert ledger.spent(chest) == {step: 5}
    assert ledger.reserved(chest) == {step: 15}
    assert account.remaining == 15


def test_settling_all_steps_changes_no_sum(ledger, account, chest, step):
    account.settle(account.reserve(5), 5)
    assert ledger.spent(chest) == {step: 5}
    assert ledger.reserved(chest) == {step: 15}


def test_steps_that_were_not_taken_can_be_reserved_again(ledger, account, chest, step):
    account.settle(account.reserve(5), 2)
    assert ledger.spent(chest) == {step: 2}
    assert account.remaining == 18
    account.settle(account.reserve(18), 18)
    assert account.remaining == 0


def test_steps_not_taken_are_not_given_to_a_plan_that_is_over(ledger, account, chest, step):
    reservation = account.reserve(5)
    account.close()
    account.settle(reservation, 2)
    assert ledger.spent(chest) == {step: 2}
    assert ledger.reserved(chest) == {}
    assert account.remaining == 0


def test_more_than_the_plan_has_left_is_refused_and_nothing_written(ledger, account):
    account.reserve(18)
    before = ledger.entries()
    with pytest.raises(BudgetExhausted, match=r"asks for 3 steps.* has 2 of 20 left"):
        account.reserve(3)
    assert ledger.entries() == before
    account.reserve(2)


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_cannot_be_reserved(ledger, account, steps):
    before = ledger.entries()
    with pytest.raises(PrivacyError):
        account.reserve(steps)
    assert ledger.entries() == before


def test_a_reservation_is_settled_once(ledger, account):
    reservation = account.reserve(5)
    account.settle(reservation, 5)
    before = ledger.entries()
    with pytest.raises(PrivacyError, match="settled or refunded before"):
        account.settle(reservation, 0)
    assert ledger.entries() == before


@pytest.mark.parametrize("steps", [6, -1])
def test_what_was_not_reserved_cannot_be_settled(ledger, account, chest, step, steps):
    reservation = account.reserve(5)
    with pytest.raises(PrivacyError, match="never take more steps than were reserved"):
        account.settle(reservation, steps)
    assert ledger.spent(chest) == {step: 5}
    account.settle(reservation, 5)


def test_a_plan_is_no_reservation(account, ledger):
    with pytest.raises(PrivacyError, match="cannot be settled"):
        account.settle(2, 0)


def test_a_dead_fits_reservation_cannot_be_settled_by_who_resumes(path, chest, step, run, cap):
    with Ledger.open(path, "north") as first:
        lost = first.plan(chest, run("first"), step, 20, cap(None)).reserve(5)
    with Ledger.open(path, "north") as second:
        resumed = second.account(chest, run("first").run_id)
        with pytest.raises(PrivacyError, match="another process made it"):
            resumed.settle(lost, 0)
        assert resumed.remaining == 15
        assert resumed.spent() == second.spent(chest) == {step: 5}


def test_closing_gives_back_only_what_was_never_drawn(ledger, account, chest, step):
    account.reserve(5)
    account.settle(account.reserve(3), 3)
    account.close()
    assert ledger.spent(chest) == {step: 8}
    assert ledger.reserved(chest) == {}


def test_closing_twice_is_closing_once(ledger, account):
    account.close()
    before = ledger.entries()
    account.close()
    assert ledger.entries() == before


def test_a_closed_plan_gives_no_steps(ledger, account, chest, run):
    account.close()
    with pytest.raises(PrivacyError, match="is over"):
        account.reserve(1)
    assert account.remaining == 0
    assert ledger.account(chest, run("first").run_id) is None


def test_the_reference_is_the_newest_settled_entry_of_the_run(
    ledger, account, chest, run, step, cap
):
    assert account.reference() == ""
    account.settle(account.reserve(1), 1)
    first = account.reference()
    assert first == ledger.entries()[-1].hash
    other = ledger.plan(chest, run("second"), step, 5, cap(None))
    other.settle(other.reserve(1), 1)
    account.reserve(1)
    assert account.reference() == first
    assert ledger.is_settled(first, run("first").run_id)
    assert not ledger.is_settled(first, run("second").run_id)


def test_only_a_settled_entry_counts_as_settled(ledger, account, run):
    account.reserve(1)
    assert not any(ledger.is_settled(e.hash, run("first").run_id) for e in ledger.entries())
    assert not ledger.is_settled("", run("first").run_id)


def test_the_head_is_the_newest_entry(ledger, account):
    account.reserve(1)
    newest = ledger.entries()[-1]
    assert (account.head().sequence, account.head().hash) == (newest.sequence, newest.hash)
    assert account.head() == ledger.head()


def test_datasets_and_units_are_counted_apart(ledger, account, chest, step, run, cap):
    images = type(chest)("chest", "image")
    ledger.plan(images, run("first"), step, 7, cap(None)).reserve(4)
    account.reserve(1)
    assert ledger.spent(images) == {step: 4}
    assert ledger.spent(chest) == {step: 1}
    assert ledger.datasets() == [images, chest]


def test_a_run_is_told_with_all_its_plans(ledger, account, chest, run, step, cap):
    account.reserve(2)
    noisier = type(step)(2.0, 0.1, 100, 30)
    account = ledger.plan(chest, run("first"), noisier, 10, cap(None))
    account.settle(account.reserve(3), 3)
    (record,) = ledger.runs(chest)
    assert record.label == run("first")
    assert record.spent == {step: 2, noisier: 3}
    assert record.reserved == {noisier: 7}
    assert (record.lost, record.is_open) == (2, True)
    assert record.begun < record.latest == ledger.entries()[-1].time


def test_all_of_it_verifies(path, ledger, account):
    account.settle(account.reserve(5), 3)
    account.close()
    assert verify(path, "north") == []

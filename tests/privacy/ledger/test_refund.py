"""Only an officer's signed entry with a reason takes a reservation back."""

import pytest

from fedefm.errors import PrivacyError
from privacy.ledger import Ledger, verify

REASON = "power failed at 10:02, the job's log shows no step; C. Officer"


def test_a_dead_runs_plan_and_reservations_come_back(path, ledger, account, chest, step, run):
    account.settle(account.reserve(4), 4)
    account.reserve(5)
    account.reserve(6)
    entries = ledger.refund(chest, run("first").run_id, REASON)
    assert ledger.spent(chest) == {step: 4}
    assert ledger.reserved(chest) == {}
    assert [entry.kind for entry in entries] == ["refund"] * 3
    assert sorted(entry.steps for entry in entries) == [5, 5, 6]
    assert {entry.reason for entry in ledger.entries()[-3:]} == {REASON}
    assert verify(path, "north") == []


def test_after_a_refund_the_run_cannot_go_on_with_that_plan(ledger, account, chest, step, run, cap):
    reservation = account.reserve(5)
    ledger.refund(chest, run("first").run_id, REASON)
    with pytest.raises(PrivacyError, match="refunded"):
        account.reserve(1)
    with pytest.raises(PrivacyError, match="refunded"):
        account.settle(reservation, 5)
    assert ledger.account(chest, run("first").run_id) is None
    assert ledger.spent(chest) == {}
    ledger.plan(chest, run("first"), step, 5, cap(None)).reserve(5)
    assert ledger.spent(chest) == {step: 5}


def test_lost_reservations_of_plans_that_are_over_come_back_too(
    ledger, account, chest, step, run, cap
):
    account.reserve(5)
    ledger.plan(chest, run("first"), step, 9, cap(None)).close()
    ledger.refund(chest, run("first").run_id, REASON)
    assert ledger.spent(chest) == {}


def test_other_runs_and_datasets_keep_what_they_have(ledger, account, chest, step, run, cap):
    head = type(chest)("head", "patient")
    ledger.plan(chest, run("second"), step, 7, cap(None)).reserve(2)
    ledger.plan(head, run("first"), step, 7, cap(None)).reserve(3)
    ledger.refund(chest, run("first").run_id, REASON)
    assert ledger.spent(chest) == {step: 2}
    assert ledger.reserved(chest) == {step: 5}
    assert ledger.spent(head) == {step: 3}


def test_what_was_settled_stays_spent_for_ever(ledger, account, chest, step, run):
    account.settle(account.reserve(20), 20)
    account.close()
    with pytest.raises(PrivacyError, match="nothing to refund"):
        ledger.refund(chest, run("first").run_id, REASON)
    assert ledger.spent(chest) == {step: 20}


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_refund_without_a_reason_is_refused(ledger, account, chest, run, reason):
    before = ledger.entries()
    with pytest.raises(PrivacyError, match="needs a reason"):
        ledger.refund(chest, run("first").run_id, reason)
    assert ledger.entries() == before


def test_a_second_refund_finds_nothing(ledger, account, chest, run):
    ledger.refund(chest, run("first").run_id, REASON)
    with pytest.raises(PrivacyError, match="nothing to refund"):
        ledger.refund(chest, run("first").run_id, REASON)


def test_an_unknown_run_is_named(ledger, chest):
    with pytest.raises(PrivacyError, match=r"run 'nobody'.*'chest'"):
        ledger.refund(chest, "nobody", REASON)


def test_who_may_only_read_cannot_refund(path, ledger, account, chest, run):
    with (
        Ledger.open(path, "north", read_only=True) as reading,
        pytest.raises(PrivacyError, match="for reading only"),
    ):
        reading.refund(chest, run("first").run_id, REASON)

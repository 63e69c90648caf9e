"""Jobs at once share one ledger, and cannot overspend together."""

import json
import multiprocessing

import pytest

from fedefm.errors import BudgetExhausted, PrivacyError
from privacy.ledger import Ledger, verify

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def at_once(path):
    """Run ``work(index, ledger)`` in several processes that begin together; give what each gave."""

    def job(work, index, start, told):
        start.wait()
        try:
            with Ledger.open(path, "north") as ledger:
                told.put((index, work(index, ledger)))
        except BaseException as error:
            told.put((index, f"failed: {error!r}"))

    def at_once(count, work):
        start, told = FORK.Barrier(count), FORK.Queue()
        jobs = [FORK.Process(target=job, args=(work, i, start, told)) for i in range(count)]
        for each in jobs:
            each.start()
        answers = dict(told.get(timeout=120) for _ in jobs)
        assert not [each for each in answers.values() if str(each).startswith("failed")], answers
        for each in jobs:
            each.join()
        return [answers[index] for index in range(count)]

    return at_once


def test_a_ledger_is_begun_once(path, at_once):
    ids = at_once(6, lambda index, ledger: ledger.entries()[0].genesis.ledger_id)
    assert len(set(ids)) == 1
    assert verify(path, "north") == []


def test_plans_at_once_do_not_exceed_the_cap_together(
    a_step_costs_one, path, at_once, chest, step, run, cap
):
    def work(index, ledger):
        try:
            ledger.plan(chest, run(f"run-{index}"), step, 40, cap(100.0))
        except BudgetExhausted:
            return False
        return True

    assert sorted(at_once(6, work)) == [False] * 4 + [True] * 2
    with Ledger.open(path, "north") as ledger:
        assert ledger.reserved(chest) == {step: 80}
    assert verify(path, "north") == []


def test_steps_at_once_are_all_counted(path, at_once, chest, step, run, cap):
    def work(index, ledger):
        account = ledger.plan(chest, run(f"run-{index}"), step, 100, cap(None))
        for _ in range(10):
            account.settle(account.reserve(3), 2)
            account.reserve(1)
        return account.remaining

    assert at_once(4, work) == [70] * 4
    assert verify(path, "north") == []
    with Ledger.open(path, "north") as ledger:
        assert ledger.spent(chest) == {step: 4 * 30}
        assert ledger.reserved(chest) == {step: 4 * 70}
        remembered = json.loads(path.with_name("ledger.db.head").read_text())
        assert remembered["sequence"] == ledger.head().sequence == 1 + 4 * 31


def test_two_resumptions_of_one_run_cannot_both_go_on(path, at_once, chest, step, run, cap):
    def work(index, ledger):
        account = ledger.plan(chest, run("first"), step, 10, cap(None))
        taken = 0
        for _ in range(10):
            try:
                account.settle(account.reserve(1), 1)
            except Exception as error:
                return taken, str(error)
            taken += 1
        return taken, ""

    (one, said_one), (other, said_other) = at_once(2, work)
    assert (said_one == "") or (said_other == "")
    with Ledger.open(path, "north") as ledger:
        assert ledger.spent(chest) == {step: one + other}
    assert verify(path, "north") == []


def test_a_job_sees_what_another_process_refunds(path, ledger, account, chest, run):
    account.reserve(1)
    with Ledger.open(path, "north") as officer:
        officer.refund(chest, run("first").run_id, "dead")
    assert account.remaining == 0
    with pytest.raises(PrivacyError, match="refunded"):
        account.reserve(1)

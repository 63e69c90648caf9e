"""Whoever looks at a ledger again sees what was added since, and only where it is whole."""

import shutil
import sqlite3

import pytest

from fedefm.errors import LedgerCorrupt
from privacy.ledger import Budget, Dataset, Ledger, RunLabel
from privacy.ledger.chain import Chain
from privacy.ledger.watching import WatchedLedger
from privacy.mechanism import Mechanism

PATIENTS = Dataset("angio", "patient")
STEP = Mechanism(2.0, 0.1, 50, 20)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def account(path):
    with Ledger.open(path, "north") as ledger:
        budget = Budget(None, 1e-5, "add_or_remove_one")
        yield ledger.plan(PATIENTS, RunLabel("r1", "run"), STEP, 100, budget)


def settle(account) -> str:
    account.settle(account.reserve(1), 1)
    return account.reference()


def test_sees_what_is_settled_after_it_was_opened(path, account) -> None:
    watched = WatchedLedger(path, "north")
    for _ in range(3):
        reference = settle(account)
        assert watched.is_settled(reference, "r1")
        assert not watched.is_settled(reference, "r2")
    account.reserve(1)
    assert not watched.is_settled(account.head().hash, "r1")


def test_verifies_each_entry_once(path, account, monkeypatch) -> None:
    checked = []
    check = Chain.check
    watched = WatchedLedger(path, "north")

    def counted(chain, row):
        checked.append(row.sequence)
        return check(chain, row)

    monkeypatch.setattr(Chain, "check", counted)
    reference = settle(account)
    known = len(account._journal.chain.entries)
    checked.clear()
    assert watched.is_settled(reference, "r1")
    assert checked == [known - 1, known]


def test_refuses_a_ledger_that_was_put_back_meanwhile(path, account) -> None:
    settle(account)
    account._journal.close()
    shutil.copy(path, path.with_name("older"))
    with Ledger.open(path, "north") as ledger:
        reference = settle(ledger.account(PATIENTS, "r1"))
    watched = WatchedLedger(path, "north")
    assert watched.is_settled(reference, "r1")
    shutil.copy(path.with_name("older"), path)
    with pytest.raises(LedgerCorrupt, match="changed while it was in use"):
        watched.is_settled("0" * 64, "r1")


def test_refuses_new_entries_that_the_ledgers_key_did_not_sign(path, account) -> None:
    watched = WatchedLedger(path, "north")
    reference = settle(account)
    account._journal.close()
    with sqlite3.connect(path) as connection:
        (rule,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'no_change'")
        connection.execute("DROP TRIGGER no_change")
        connection.execute("UPDATE entries SET signature = ? WHERE sequence = 4", ("ab" * 64,))
        connection.execute(rule[0])
    with pytest.raises(LedgerCorrupt, match="entry 4"):
        watched.is_settled(reference, "r1")

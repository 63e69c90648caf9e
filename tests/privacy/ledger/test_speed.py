"""A ledger of many years stays quick."""

import time
from dataclasses import replace

import pytest

from privacy.ledger import Ledger, verify
from privacy.ledger.entry import Entry

PAIRS = 5000


@pytest.fixture
def of_ten_thousand(path, chest, step, run, cap):
    """A ledger with 10,000 entries, written at once."""
    with Ledger.open(path, "north") as ledger:
        ledger.plan(chest, run("first"), step, PAIRS + 100, cap(None))
        said = Entry("reserve", dataset=chest, run=run("first"), mechanism=step, steps=1)

        def years(books):
            for pair in range(PAIRS):
                yield replace(said, refers=2)
                yield replace(said, kind="settle", refers=3 + 2 * pair)

        ledger._journal.append(years)
    return path


def test_ten_thousand_entries_verify_and_grow_quickly(of_ten_thousand, chest, step, run):
    begun = time.process_time()  # other processes on the machine do not count
    assert verify(of_ten_thousand, "north") == []
    verified = time.process_time() - begun
    with Ledger.open(of_ten_thousand, "north") as ledger:
        account = ledger.account(chest, run("first").run_id)
        pairs = []
        for _ in range(50):
            begun = time.perf_counter()
            account.settle(account.reserve(1), 1)
            pairs.append(time.perf_counter() - begun)
        assert ledger.spent(chest) == {step: PAIRS + 50}
        assert len(ledger.entries()) == 2 + 2 * (PAIRS + 50)
    print(f"verify {verified:.2f} s, reserve and settle {sorted(pairs)[25] * 1000:.1f} ms")
    assert verified < 5
    # the quickest of 50: what the machine's disk does besides is not the ledger's
    assert min(pairs) < 0.05

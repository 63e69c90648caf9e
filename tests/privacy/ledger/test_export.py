"""Officers and their programs get every entry, with all that is needed to check it."""

import csv
import hashlib
import io
import json
from dataclasses import replace

from privacy.ledger import to_csv, to_json
from privacy.ledger.keys import is_signed


def lines(ledger):
    return list(csv.DictReader(io.StringIO(to_csv(ledger.entries()))))


def test_the_table_has_a_line_for_each_entry(ledger, account, step):
    account.settle(account.reserve(5), 3)
    account.close()
    table = lines(ledger)
    assert [line["kind"] for line in table] == ["genesis", "plan", "reserve", "settle", "close"]
    assert [line["steps"] for line in table] == ["0", "20", "5", "3", "17"]
    assert [line["refers"] for line in table] == ["0", "0", "2", "3", "2"]
    assert table[0]["site"] == "north"
    plan = table[1]
    assert (plan["dataset"], plan["unit"]) == ("chest", "patient")
    assert (plan["run_name"], plan["run_id"], plan["job"]) == ("first", "id-of-first", "job-1")
    assert float(plan["noise_multiplier"]) == step.noise_multiplier
    assert (plan["cap"], plan["delta"], plan["adjacency"]) == ("", "1e-05", "add_or_remove_one")
    assert [line["hash"] for line in table] == [entry.hash for entry in ledger.entries()]
    assert len({tuple(line) for line in table}) == 1


def test_shared_noise_has_its_column(ledger, account, chest, run, step, cap):
    ledger.plan(chest, run("second"), replace(step, shares=4), 3, cap(None))
    assert [line["shares"] for line in lines(ledger)] == ["", "", "4"]


def test_a_reason_cannot_become_a_formula(ledger, account, chest, run):
    ledger.refund(chest, run("first").run_id, '=HYPERLINK("http://elsewhere")')
    assert lines(ledger)[-1]["reason"].startswith("'=")
    assert to_json(ledger.entries())[-1]["reason"].startswith("=")


def test_commas_quotes_and_line_ends_stay_in_their_cell(ledger, account, chest, run):
    reason = 'said "stop",\nthen left; ü'
    ledger.refund(chest, run("first").run_id, reason)
    assert lines(ledger)[-1]["reason"] == reason


def test_who_has_the_json_can_check_the_chain_without_us(ledger, account):
    account.settle(account.reserve(5), 3)
    exported = json.loads(json.dumps(to_json(ledger.entries())))
    previous = ""
    for record in exported:
        stated, signature = record.pop("hash"), record.pop("signature")
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == stated
        assert record["previous"] == previous
        assert is_signed(stated, signature, exported[0]["genesis"]["public_key"])
        previous = stated

"""Whoever changes the file is found out: a clear error, no training, nothing overwritten."""

import random
import re
import shutil
import sqlite3
from dataclasses import replace

import pytest

from fedefm.errors import LedgerCorrupt, PrivacyError
from privacy.ledger import Ledger, verify
from privacy.ledger.entry import Entry
from privacy.ledger.keys import load_key
from privacy.ledger.store import TABLE


@pytest.fixture
def written(path, chest, step, run, cap):
    """A closed ledger of ten entries; nothing but the one file, its key and its witness."""
    with Ledger.open(path, "north") as ledger:
        account = ledger.plan(chest, run("first"), step, 20, cap(None))
        for _ in range(4):
            account.settle(account.reserve(2), 2)
        entries = ledger.entries()
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "ledger.db",
        "ledger.db.head",
        "ledger.db.key",
    ]
    return entries


def tamper(path, *statements):
    """Change the file as somebody could who takes the triggers away and puts them back."""
    connection = sqlite3.connect(path)
    for name in ("in_order", "no_change", "no_deletion"):
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(*statement if isinstance(statement, tuple) else (statement,))
    for name in ("in_order", "no_change", "no_deletion"):
        connection.execute(TABLE[name])
    connection.commit()
    connection.close()


def assert_refused(path, saying):
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(LedgerCorrupt, match=saying):
            Ledger.open(path, "north", read_only=read_only)
    assert path.read_bytes() == before
    assert any(re.search(saying, doubt) for doubt in verify(path, "north"))


def test_an_untouched_ledger_opens(path, written):
    tamper(path)
    with Ledger.open(path, "north") as ledger:
        assert ledger.entries() == written
    assert verify(path, "north") == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET record = '' WHERE sequence = 3",
        "DELETE FROM entries WHERE sequence = 10",
        "INSERT INTO entries VALUES (12, '', '', '')",
        "INSERT OR REPLACE INTO entries VALUES (3, '', '', '')",
        "INSERT INTO entries VALUES (NULL, '', '', '')",
    ],
)
def test_sqlite_itself_refuses_to_change_what_stands_there(path, written, statement):
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match=r"entries are"):
        connection.execute(statement)
    connection.close()


def test_a_changed_entry_is_found(path, written):
    tamper(path, "UPDATE entries SET record = replace(record, '\"steps\":20', '\"steps\":10')")
    assert_refused(path, "entry 2 does not match its hash")


def test_a_changed_entry_with_a_right_hash_is_found(path, written):
    less = replace(written[3], steps=1)
    tamper(
        path,
        (
            "UPDATE entries SET record = ?, hash = ? WHERE sequence = 4",
            (less.record, less.hash),
        ),
    )
    assert_refused(path, "entry 4 is not signed")


def test_a_deleted_row_is_found(path, written):
    tamper(path, "DELETE FROM entries WHERE sequence = 5")
    assert_refused(path, "entry 5 is missing")


def test_rows_cut_off_at_the_end_are_found_by_the_witness(path, written):
    tamper(path, "DELETE FROM entries WHERE sequence > 8")
    assert_refused(path, r"witness .* remembers entry 10, and the ledger ends at 8")


def test_swapped_rows_are_found(path, written):
    tamper(
        path,
        "UPDATE entries SET sequence = 99 WHERE sequence = 4",
        "UPDATE entries SET sequence = 4 WHERE sequence = 6",
        "UPDATE entries SET sequence = 6 WHERE sequence = 99",
    )
    assert_refused(path, "entry 4 says that it is entry 6")


def test_removed_rows_closed_up_are_found(path, written):
    tamper(
        path,
        "DELETE FROM entries WHERE sequence IN (5, 6)",
        "UPDATE entries SET sequence = sequence - 2 WHERE sequence > 6",
    )
    assert_refused(path, "entry 5 says that it is entry 7")


def test_rows_of_two_histories_put_together_are_found(path, tmp_path, chest, step, run, cap):
    """A copy went on with less; what it says stands in for what the ledger says of that time."""
    copy = tmp_path / "copy.db"
    with Ledger.open(path, "north") as ledger:
        ledger.plan(chest, run("first"), step, 20, cap(None))
    for ending in ("", ".key", ".head"):
        shutil.copy(f"{path}{ending}", f"{copy}{ending}")
    for place, steps in ((path, 10), (copy, 1)):
        with Ledger.open(place, "north") as ledger:
            account = ledger.account(chest, run("first").run_id)
            account.settle(account.reserve(steps), steps)
            account.reserve(1)
    with sqlite3.connect(copy) as connection:
        cheaper = connection.execute(
            "SELECT record, hash, signature, sequence FROM entries WHERE sequence IN (3, 4)"
        ).fetchall()
    change = "UPDATE entries SET record = ?, hash = ?, signature = ? WHERE sequence = ?"
    tamper(path, *((change, row) for row in cheaper))
    assert_refused(path, "entry 5 does not continue the entry before it")


def test_a_changed_signature_is_found(path, written):
    tamper(path, "UPDATE entries SET signature = '00' || substr(signature, 3) WHERE sequence = 7")
    assert_refused(path, "entry 7 is not signed")


@pytest.mark.parametrize("column", ["record", "hash", "signature"])
@pytest.mark.parametrize("value", ["x'ff00'", "x'c328'", "''", "'{}'", "'[1]'", "17"])
def test_nonsense_in_a_column_is_found(path, written, column, value):
    tamper(path, f"UPDATE entries SET {column} = {value} WHERE sequence = 7")
    assert_refused(path, "entry 7|damaged")


def test_missing_triggers_are_found(path, written):
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER no_deletion")
    connection.close()
    assert_refused(path, "its table or triggers were changed")


def test_a_chain_that_another_key_signed_is_refused(path, written, tmp_path, chest, step, run, cap):
    """Somebody writes a whole new ledger that says less, and has no access to key and witness."""
    other = tmp_path / "other.db"
    with Ledger.open(other, "north") as ledger:
        ledger.plan(chest, run("first"), step, 20, cap(None))
    shutil.copy(other, path)
    with pytest.raises(LedgerCorrupt, match="is not the one that signed"):
        Ledger.open(path, "north")
    with pytest.raises(LedgerCorrupt, match="witness"):
        Ledger.open(path, "north", read_only=True)
    assert len(verify(path, "north")) == 2  # key and witness


def test_signed_entries_that_break_the_rules_are_refused(path, written, chest, step, run):
    """Somebody with the key gives back what was settled."""
    key = load_key(path, written[0].genesis.public_key)
    back = Entry("settle", dataset=chest, run=run("first"), mechanism=step, refers=9)
    back = back.after(written[-1], "later")
    signature = key.sign(bytes.fromhex(back.hash)).hex()
    row = (back.sequence, back.record, back.hash, signature)
    tamper(path, ("INSERT INTO entries VALUES (?, ?, ?, ?)", row))
    assert_refused(path, r"entry 11 \(settle\) refers to entry 9, which is no open reservation")


def test_a_defect_of_ours_cannot_write_what_breaks_the_rules(path, written, chest, step, run):
    with Ledger.open(path, "north") as ledger:
        back = Entry("settle", dataset=chest, run=run("first"), mechanism=step, refers=9)
        with pytest.raises(LedgerCorrupt, match="no open reservation"):
            ledger._journal.append(lambda books: [back])
        assert ledger.entries() == written
        ledger.account(chest, run("first").run_id).reserve(2)
    assert verify(path, "north") == []


def test_any_flipped_byte_is_found_or_changes_nothing(path, written):
    """Free space of a page means nothing, so some flips change nothing; none may go wrong."""
    original = path.read_bytes()
    places = random.Random(0).sample(range(len(original)), 250)
    found = 0
    for place in [*range(0, 100, 3), *places]:
        broken = bytearray(original)
        broken[place] ^= 0xFF
        path.write_bytes(broken)
        try:
            with Ledger.open(path, "north", read_only=True) as ledger:
                assert ledger.entries() == written
        except PrivacyError:
            found += 1
            assert verify(path, "north")
    assert found > 100


def test_any_cut_is_found(path, written):
    original = path.read_bytes()
    for length in range(0, len(original), 509):
        path.write_bytes(original[:length])
        with pytest.raises(LedgerCorrupt):
            Ledger.open(path, "north")
        assert verify(path, "north")


def test_a_file_of_another_kind_is_refused_and_left_alone(path):
    for content in (b"site,epsilon\nnorth,3\n", b"\x00" * 5000):
        path.write_bytes(content)
        with pytest.raises(LedgerCorrupt):
            Ledger.open(path, "north")
        assert path.read_bytes() == content


def test_another_database_is_refused_and_left_alone(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE patients (name)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LedgerCorrupt, match="is not a ledger"):
        Ledger.open(path, "north")
    assert path.read_bytes() == before

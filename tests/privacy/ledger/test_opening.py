"""What is made on first use, and what is refused before anything is made."""

import sqlite3
import stat

import pytest

from fedefm.errors import LedgerCorrupt, PrivacyError
from privacy.ledger import Ledger, verify
from privacy.ledger.store import Store, require_ledger


def key_of(path):
    return path.with_name(path.name + ".key")


def files(path):
    return sorted(file.name for file in path.parent.iterdir())


def test_the_first_entry_says_whose_ledger_it_is(ledger):
    (genesis,) = ledger.entries()
    assert genesis.kind == "genesis"
    assert genesis.genesis.site == "north"
    assert len(genesis.genesis.ledger_id) == 32
    assert len(bytes.fromhex(genesis.genesis.public_key)) == 32


def test_the_key_is_made_on_first_use_for_its_owner_alone(path, ledger):
    assert stat.S_IMODE(key_of(path).stat().st_mode) == 0o600
    assert files(path) == [
        "ledger.db",
        "ledger.db-shm",
        "ledger.db-wal",
        "ledger.db.head",
        "ledger.db.key",
    ]


def test_two_ledgers_have_two_ids_and_two_keys(tmp_path):
    both = [Ledger.open(tmp_path / name, "north") for name in ("a", "b")]
    one, other = (ledger.entries()[0].genesis for ledger in both)
    assert one.ledger_id != other.ledger_id
    assert one.public_key != other.public_key
    for ledger in both:
        ledger.close()


def test_a_ledger_that_another_process_begins_meanwhile_is_no_broken_one(path):
    class Looking(sqlite3.Connection):
        """Between its two looks at the file, somebody begins the ledger."""

        def execute(self, statement, *values):
            if "application_id" in statement:
                Ledger.open(path, "north").close()
            return super().execute(statement, *values)

    Store(path).close()
    looking = sqlite3.connect(path, factory=Looking)
    assert require_ledger(looking, path)
    assert not require_ledger(looking, path)
    looking.close()


def test_a_reopened_ledger_is_the_same(path, ledger, account):
    account.reserve(1)
    entries = ledger.entries()
    ledger.close()
    with Ledger.open(path, "north") as again:
        assert again.entries() == entries


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_key_that_others_can_read_is_refused(path, ledger, mode):
    ledger.close()
    key_of(path).chmod(mode)
    with pytest.raises(PrivacyError, match=r"open to other accounts .* chmod 600"):
        Ledger.open(path, "north")
    assert "chmod 600" in verify(path, "north")[0]
    key_of(path).chmod(0o600)
    Ledger.open(path, "north").close()


def test_a_missing_key_is_not_made_anew(path, ledger):
    ledger.close()
    key_of(path).unlink()
    with pytest.raises(PrivacyError, match="is missing and its ledger has entries"):
        Ledger.open(path, "north")
    assert not key_of(path).exists()
    assert "is missing" in verify(path, "north")[0]


def test_a_key_that_is_none_is_refused(path, ledger):
    ledger.close()
    key_of(path).write_text("no key")
    with pytest.raises(PrivacyError, match="holds no Ed25519 key"):
        Ledger.open(path, "north")


def test_the_key_of_another_ledger_is_refused(path, ledger, tmp_path):
    ledger.close()
    Ledger.open(tmp_path / "other", "north").close()
    key_of(path).write_bytes((tmp_path / "other.key").read_bytes())
    with pytest.raises(LedgerCorrupt, match="is not the one that signed"):
        Ledger.open(path, "north")


def test_the_ledger_of_another_site_is_refused(path, ledger):
    ledger.close()
    for read_only in (False, True):
        with pytest.raises(PrivacyError, match=r"is the one of site 'north', and this is 'south'"):
            Ledger.open(path, "south", read_only=read_only)
    assert "not of 'south'" in verify(path, "south")[0]
    assert verify(path) == []


def test_a_folder_is_no_ledger(tmp_path):
    with pytest.raises(PrivacyError, match="is a folder"):
        Ledger.open(tmp_path, "north")
    with pytest.raises(PrivacyError):
        Ledger.open(tmp_path, "north", read_only=True)
    assert verify(tmp_path)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(PrivacyError, match=r"folder .*/nowhere does not exist"):
        Ledger.open(tmp_path / "nowhere" / "ledger.db", "north")
    with pytest.raises(PrivacyError, match=r"ledger witness .*/nowhere does not exist"):
        Ledger.open(tmp_path / "ledger.db", "north", tmp_path / "nowhere" / "witness")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [{"create": False}, {"read_only": True}])
def test_who_must_not_make_a_ledger_is_told_that_there_is_none(path, how):
    with pytest.raises(PrivacyError, match="there is no ledger at"):
        Ledger.open(path, "north", **how)
    assert files(path) == []


def test_an_empty_ledger_left_by_a_crash_is_begun(path):
    path.touch()
    with Ledger.open(path, "north") as ledger:
        assert len(ledger.entries()) == 1


def test_a_closed_ledger_takes_no_entries(ledger, account):
    ledger.close()
    with pytest.raises(PrivacyError, match="is closed"):
        account.reserve(1)
    ledger.close()


def test_every_commit_is_on_the_disk_before_it_returns(ledger):
    """A power cut cannot be tried here; this is the setting that SQLite's promise hangs on."""
    connection = ledger._journal._writer.store._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL

"""A ledger that was restored or cut betrays itself by what others remember."""

import json
import shutil

import pytest

from fedefm.errors import LedgerCorrupt, PrivacyError
from privacy.ledger import Head, Ledger, verify


@pytest.fixture
def witness(tmp_path):
    (tmp_path / "other-disk").mkdir()
    return tmp_path / "other-disk" / "witness.json"


@pytest.fixture
def write(path, witness, chest, step, run, cap):
    """Open the ledger, let a run take some steps, and give the head."""

    def write(name="first", known_head=None):
        with Ledger.open(path, "north", witness, known_head) as ledger:
            account = ledger.plan(chest, run(name), step, 20, cap(None))
            account.settle(account.reserve(2), 2)
            account.close()
            return ledger.head()

    return write


def test_the_witness_knows_the_newest_entry_before_reserve_returns(
    path, witness, chest, step, run, cap
):
    with Ledger.open(path, "north", witness) as ledger:
        account = ledger.plan(chest, run("first"), step, 20, cap(None))
        account.reserve(1)
        head = ledger.head()
        assert json.loads(witness.read_text()) == {"sequence": head.sequence, "hash": head.hash}
    assert not path.with_name(path.name + ".head").exists()


def test_a_restored_ledger_is_refused_and_says_what_to_do(path, witness, write):
    write()
    backup = path.read_bytes()
    write("second")
    path.write_bytes(backup)
    with pytest.raises(LedgerCorrupt, match=r"remembers entry 9, .* ends at 5: it was restored"):
        Ledger.open(path, "north", witness)
    (doubt,) = verify(path, "north", witness)
    assert "count the missing steps as spent before anything is trained" in doubt


def test_a_restored_ledger_that_went_on_is_refused(path, witness, write):
    write()
    backup, early = path.read_bytes(), witness.read_bytes()
    head = write("second")
    late = witness.read_bytes()
    path.write_bytes(backup)
    witness.write_bytes(early)
    write("third")
    write("fourth")
    with pytest.raises(LedgerCorrupt, match="the server remembers another entry 9"):
        Ledger.open(path, "north", witness, known_head=head)
    witness.write_bytes(late)
    with pytest.raises(LedgerCorrupt, match="remembers another entry 9"):
        Ledger.open(path, "north", witness)


def test_what_the_server_remembers_is_looked_for(path, witness, write):
    write()
    backup = path.read_bytes()
    early = witness.read_bytes()
    head = write("second")
    path.write_bytes(backup)
    witness.write_bytes(early)  # the witness was restored, too
    with pytest.raises(LedgerCorrupt, match="the server remembers entry 9"):
        Ledger.open(path, "north", witness, known_head=head)
    with pytest.raises(LedgerCorrupt, match="the server remembers entry 9"):
        Ledger.open(path, "north", witness, known_head=head, read_only=True)
    assert "the server remembers entry 9" in verify(path, "north", witness, [head])[0]


def test_heads_of_earlier_days_are_fine(path, witness, write):
    heads = [write("first"), write("second"), write("third")]
    for head in heads:
        with Ledger.open(path, "north", witness, known_head=head):
            pass
    assert verify(path, "north", witness, heads) == []


def test_a_witness_that_lags_behind_is_fine_and_catches_up(path, witness, write):
    """A crash between commit and witness leaves it so."""
    write()
    lagging = witness.read_bytes()
    head = write("second")
    witness.write_bytes(lagging)
    assert verify(path, "north", witness) == []
    with Ledger.open(path, "north", witness):
        pass
    assert json.loads(witness.read_text())["sequence"] == head.sequence


def test_a_missing_witness_is_a_doubt(path, witness, write):
    write()
    witness.unlink()
    with pytest.raises(LedgerCorrupt, match=r"is missing and the ledger has 5 entries. Mount"):
        Ledger.open(path, "north", witness)
    assert "is missing" in verify(path, "north", witness)[0]


def test_a_witness_can_move_by_copying(path, witness, write):
    head = write()
    moved = witness.with_name("moved.json")
    shutil.copy(witness, moved)
    with Ledger.open(path, "north", moved) as ledger:
        assert ledger.head() == head


def test_without_a_witness_of_its_own_a_ledger_keeps_one_beside_it(path, ledger, account):
    account.reserve(1)
    beside = json.loads(path.with_name("ledger.db.head").read_text())
    assert beside["sequence"] == ledger.head().sequence


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"sequence": "1", "hash": ""}', '{"sequence": 0, "hash": ""}']
)
def test_a_broken_witness_is_a_doubt(path, witness, write, content):
    write()
    witness.write_text(content)
    with pytest.raises(LedgerCorrupt, match="holds no head"):
        Ledger.open(path, "north", witness)
    assert "holds no head" in verify(path, "north", witness)[0]


def test_the_witness_of_another_site_is_a_doubt(path, witness, write, tmp_path):
    write()
    with Ledger.open(tmp_path / "south.db", "south") as south:
        head = south.head()
    witness.write_text(json.dumps({"sequence": head.sequence, "hash": head.hash}))
    with pytest.raises(LedgerCorrupt, match=r"another entry 1 .*the ledger of another site"):
        Ledger.open(path, "north", witness)


def test_a_deleted_ledger_does_not_start_anew(path, witness, write):
    head = write()
    path.unlink()
    for known in (None, head):
        with pytest.raises(LedgerCorrupt, match=r"is gone or empty, but its key .* is there"):
            Ledger.open(path, "north", witness, known_head=known)
    path.with_name("ledger.db.key").unlink()
    with pytest.raises(LedgerCorrupt, match=r"but witness .* remembers it"):
        Ledger.open(path, "north", witness)
    witness.unlink()
    with pytest.raises(LedgerCorrupt, match="but the server remembers its entry 5"):
        Ledger.open(path, "north", witness, known_head=head)
    assert not path.exists()


def test_a_deleted_ledger_is_not_read_as_one_never_begun(path, witness, write):
    head = write()
    path.unlink()

    def told(known):
        with pytest.raises(LedgerCorrupt) as refused:
            Ledger.open(path, "north", witness, known_head=known, read_only=True)
        assert verify(path, "north", witness, iter([known] if known else [])) == [
            str(refused.value)
        ]
        with pytest.raises(LedgerCorrupt) as when_writing:
            Ledger.open(path, "north", witness, known_head=known)
        assert str(when_writing.value) == str(refused.value)
        return str(refused.value)

    assert "is gone or empty, but its key" in told(None)
    path.with_name("ledger.db.key").unlink()
    assert "but witness" in told(None)
    witness.unlink()
    assert "but the server remembers its entry 5" in told(head)
    assert "nothing was ever counted" in verify(path, "north", witness)[0]


def test_an_emptied_ledger_does_not_start_anew(path, witness, write):
    write()
    path.write_bytes(b"")
    with pytest.raises(LedgerCorrupt, match="is gone or empty"):
        Ledger.open(path, "north", witness)
    assert path.read_bytes() == b"" or "no entries" in verify(path, "north", witness)[0]
    with pytest.raises(PrivacyError):
        Ledger.open(path, "north", witness, read_only=True)


def test_a_head_of_zero_is_none(path, witness, write):
    write()
    assert "no head" in verify(path, "north", witness, [Head(0, "")])[0]

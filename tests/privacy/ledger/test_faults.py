"""Locked, read-only, full, gone: a clear error, nothing trained, nothing lost."""

import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fedefm.errors import LedgerCorrupt, PrivacyError
from privacy.ledger import Ledger, verify
from tests.full_disk import files_at_most


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("privacy.ledger.store.WAIT_S", 0.2)


@contextlib.contextmanager
def held(path):
    """Another process holds the ledger."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.close()


def test_a_ledger_that_is_held_for_too_long_is_locked(impatient, path, chest, step, run, cap):
    with Ledger.open(path, "north") as ledger:
        account = ledger.plan(chest, run("first"), step, 20, cap(None))
        reservation = account.reserve(1)
        before = ledger.entries()
        with held(path):
            for act in (
                lambda: account.reserve(1),
                lambda: account.settle(reservation, 1),
                account.close,
                lambda: ledger.plan(chest, run("second"), step, 20, cap(None)),
                lambda: Ledger.open(path, "north"),
            ):
                with pytest.raises(PrivacyError, match="is held by another process"):
                    act()
            assert ledger.entries() == before
        account.settle(reservation, 1)  # nothing was lost by waiting in vain


@pytest.mark.parametrize("room", [0, 1000, 4200, 9000])
def test_a_full_disk_refuses_and_loses_nothing(path, ledger, account, chest, step, room):
    account.settle(account.reserve(1), 1)
    before = ledger.entries()
    log = Path(f"{path}-wal").stat().st_size
    with files_at_most(log + room):
        for _ in range(19):
            try:
                account.reserve(1)
            except PrivacyError as error:
                assert "cannot grow" in str(error) or "disk" in str(error)  # noqa: PT017
                break
        else:
            pytest.fail("the disk was never full")
    assert ledger.entries()[: len(before)] == before
    assert verify(path, "north") == []
    spent = ledger.spent(chest)[step]
    account.reserve(1)
    assert ledger.spent(chest)[step] == spent + 1


def test_a_full_disk_at_the_first_use_leaves_something_to_begin_with(path):
    with files_at_most(2000), pytest.raises(PrivacyError):
        Ledger.open(path, "north")
    with Ledger.open(path, "north") as ledger:
        assert len(ledger.entries()) == 1


def test_a_witness_that_cannot_be_written_stops_the_fit_before_it_begins(
    monkeypatch, path, ledger, account, chest, step
):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr("privacy.ledger.heads.write_whole", full)
        with pytest.raises(PrivacyError, match=r"witness .* cannot be written: No space left"):
            account.reserve(4)
    assert ledger.spent(chest) == {step: 4}  # never under-counted
    account.reserve(1)
    assert verify(path, "north") == []


def test_a_witness_whose_disk_is_gone_is_a_fault(tmp_path, path, chest, step, run, cap):
    disk = tmp_path / "disk"
    disk.mkdir()
    with Ledger.open(path, "north", disk / "witness") as ledger:
        account = ledger.plan(chest, run("first"), step, 20, cap(None))
        disk.rename(tmp_path / "elsewhere")
        with pytest.raises(PrivacyError, match="witness"):
            account.reserve(4)
    with pytest.raises(PrivacyError, match="does not exist"):
        Ledger.open(path, "north", disk / "witness")


def test_a_ledger_removed_under_a_job_takes_no_entries(path, ledger, account):
    path.unlink()
    with pytest.raises(LedgerCorrupt, match="was removed or replaced while it was in use"):
        account.reserve(1)


def test_a_ledger_replaced_under_a_job_takes_no_entries(path, ledger, account, tmp_path):
    copy = tmp_path / "copy"
    shutil.copy(path, copy)
    copy.replace(path)
    with pytest.raises(LedgerCorrupt, match="was removed or replaced while it was in use"):
        account.reserve(1)


def test_a_log_removed_under_a_job_is_noticed(path, ledger, account):
    """The commit would go to a file that nobody finds again."""
    Path(f"{path}-wal").unlink()
    with pytest.raises(LedgerCorrupt, match="was removed or replaced while it was in use"):
        account.reserve(1)


def test_a_log_removed_after_a_crash_is_noticed(path, ledger, account, tmp_path):
    account.reserve(1)
    crashed = tmp_path / "crashed" / "ledger.db"
    crashed.parent.mkdir()
    for suffix in ("", ".head", ".key"):  # all but the write-ahead log
        shutil.copy(f"{path}{suffix}", f"{crashed}{suffix}")
    with pytest.raises(LedgerCorrupt, match=r"gone or empty|restored from an older copy, or cut"):
        Ledger.open(crashed, "north")
    assert verify(crashed, "north")


WRITE = """
import os, sys
from pathlib import Path
from fedefm.errors import PrivacyError
from privacy.ledger import Ledger
os.setuid(65534)
try:
    Ledger.open(Path(sys.argv[1]), "north")
except PrivacyError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("files", "folder"),
    [
        (0o444, 0o777),
        (0o666, 0o555),
        (0o444, 0o555),
    ],
)
def test_a_ledger_that_may_not_be_written_is_refused_at_opening(files, folder):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.db"
        Ledger.open(path, "north").close()
        for file in path.parent.iterdir():
            os.chown(file, 65534, 65534)
            file.chmod(0o600 if file.suffix == ".key" else files)
        path.parent.chmod(folder)
        before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
        command = [sys.executable, "-c", WRITE, str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "cannot be written; give this account" in told.stdout, told.stderr
        assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_may_not_be_written_is_refused_before_anything_is_made():
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.db"
        path.parent.chmod(0o555)
        command = [sys.executable, "-c", WRITE, str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "cannot be written; give this account the right" in told.stdout, told.stderr
        assert not path.exists()

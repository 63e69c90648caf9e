"""An officer reads without rights, while jobs run, and leaves no trace."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from privacy.ledger import Ledger, verify

NOBODY = 65534
READ = """
import os, sys
from pathlib import Path
from privacy.ledger import Ledger, verify
os.setuid(int(sys.argv[2]))
path = Path(sys.argv[1])
with Ledger.open(path, "north", read_only=True) as ledger:
    print(len(ledger.entries()), verify(path, "north"))
"""


def state(folder):
    return {
        file.name: (file.stat().st_mtime_ns, file.read_bytes() if file.suffix != ".db-shm" else b"")
        for file in folder.iterdir()
    }


def test_reading_while_a_job_runs_sees_all_and_changes_nothing(path, ledger, account):
    account.reserve(1)
    before = state(path.parent)
    with Ledger.open(path, "north", read_only=True) as reading:
        assert reading.entries() == ledger.entries()
        assert verify(path, "north") == []
        assert state(path.parent) == before
        account.reserve(1)
        assert len(reading.entries()) == len(ledger.entries()) - 1  # as of its opening
    assert verify(path, "north") == []


def test_reading_after_the_job_makes_no_files(path, ledger, account):
    account.reserve(1)
    entries = ledger.entries()
    ledger.close()
    before = state(path.parent)
    with Ledger.open(path, "north", read_only=True) as reading:
        assert reading.entries() == entries
    assert verify(path, "north") == []
    assert state(path.parent) == before


@pytest.mark.parametrize("left", [["", "-wal"], ["", "-wal", "-shm"]])
def test_what_a_crash_or_a_copy_left_is_read(path, ledger, account, tmp_path, left):
    account.reserve(1)
    copy = tmp_path / "copy" / "ledger.db"
    copy.parent.mkdir()
    for suffix in [*left, ".head", ".key"]:
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    before = state(copy.parent)
    with Ledger.open(copy, "north", read_only=True) as reading:
        assert reading.entries() == ledger.entries()
    assert verify(copy, "north") == []
    assert state(copy.parent) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("running", [True, False])
def test_an_account_without_the_right_to_write_or_to_read_the_key_can_verify(
    chest, run, step, cap, running
):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # pytest's own folders are closed to others
        path = Path(folder) / "ledger.db"
        with Ledger.open(path, "north") as ledger:
            ledger.plan(chest, run("first"), step, 20, cap(None)).reserve(1)
            if not running:
                ledger.close()
            command = [sys.executable, "-c", READ, str(path), str(NOBODY)]
            told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.stdout == "3 []\n", told.stderr


def test_a_reading_process_does_not_hinder_a_writing_one(path, ledger, account):
    with Ledger.open(path, "north", read_only=True):
        account.reserve(1)
    account.reserve(1)

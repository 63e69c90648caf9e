"""kill -9 at every single change of a file: the ledger opens again and never under-counts."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from privacy.ledger import Ledger, verify

HERE = Path(__file__).parent
RESERVED_AT_ONCE = 3
STEPS = 5


@pytest.fixture
def memory():
    """A folder in memory where there is one: what was written outlives a kill there as well."""
    in_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=in_memory if in_memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def killed(memory):
    """The folders of jobs that were killed, one call later each; at the end one that lived."""
    library = memory / "killed.so"
    source = HERE / "killed.c"
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)

    def killed(halfway):
        jobs = memory / "jobs"
        jobs.mkdir()
        subprocess.run(
            [sys.executable, HERE / "killed.py", library, jobs, str(int(halfway))],
            env={**os.environ, "LD_PRELOAD": str(library)},
            check=True,
        )
        lived = int((jobs / "lived").read_text())
        return [jobs / str(calls) for calls in range(1, lived + 1)]

    return killed


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler to kill at a system call")
@pytest.mark.skipif(sys.platform != "linux", reason="counts system calls as Linux names them")
@pytest.mark.parametrize("halfway", [False, True], ids=["before a write", "in half of a write"])
def test_a_job_killed_at_any_change_of_a_file_is_never_under_counted(
    killed, chest, step, run, cap, halfway
):
    folders = killed(halfway)
    assert len(folders) > 50
    counts = set()
    for folder in folders:
        taken = len((folder / "taken").read_bytes())
        path, witness = folder / "ledger.db", folder / "witness"
        with Ledger.open(path, "north", witness) as ledger:
            spent = ledger.spent(chest)[step]
            assert taken <= spent <= taken + RESERVED_AT_ONCE, folder.name
            assert ledger.reserved(chest)[step] + spent <= 2 + 9
            ledger.plan(chest, run("next"), step, 1, cap(None)).reserve(1)
            assert ledger.spent(chest)[step] == spent + 1
        assert verify(path, "north", witness) == [], folder.name
        counts.add((taken, spent))
    assert (0, 0) in counts  # killed before the first reservation,
    assert (STEPS, STEPS) in counts  # after the last,
    assert any(taken < spent for taken, spent in counts)  # and where a fit was lost

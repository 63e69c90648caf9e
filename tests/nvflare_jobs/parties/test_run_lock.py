"""A run's state belongs to one job, until its process is no more."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fedefm.errors import ConfigError
from nvflare_jobs.parties import run_lock
from nvflare_jobs.parties.run_lock import hold_run
from nvflare_jobs.parties.saved_run import SavedRun
from nvflare_jobs.parties.terms import terms_for

HOLDER = """
import sys, time
from pathlib import Path
from nvflare_jobs.parties.run_lock import hold_run
lock = hold_run(Path(sys.argv[1]), "job-1")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "states" / "tiny"


def test_the_second_job_is_refused_by_the_name_of_the_first(state, monkeypatch) -> None:
    monkeypatch.setattr(run_lock, "WAIT_S", 0.2)
    first = hold_run(state, "job-1")
    with pytest.raises(ConfigError, match="run 'tiny' is running here in job job-1; wait for its"):
        hold_run(state, "job-2")
    hold_run(state.with_name("other"), "job-2").close()
    first.close()
    second = hold_run(state, "job-2")
    with pytest.raises(ConfigError, match="in job job-2;"):
        hold_run(state, "job-1")
    second.close()


def test_who_comes_while_the_first_ends_waits_for_it(state, monkeypatch) -> None:
    monkeypatch.setattr(run_lock, "WAIT_S", 60.0)
    threading.Timer(0.3, hold_run(state, "job-1").close).start()
    hold_run(state, "job-1").close()


def test_the_death_of_a_process_frees_the_run(state) -> None:
    command = [sys.executable, "-c", HOLDER, str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        hold_run(state, "job-1").close()


def test_a_run_that_begins_afresh_stays_locked(state, tiny_run, monkeypatch) -> None:
    monkeypatch.setattr(run_lock, "WAIT_S", 0.2)
    with hold_run(state, "job-1"):
        SavedRun("hosp-a", state, terms_for(tiny_run, ("hosp-a", "hosp-b")), "job-1").begin()
        with pytest.raises(ConfigError):
            hold_run(state, "job-2")

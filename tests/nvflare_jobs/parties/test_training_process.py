"""The training process is nobody's orphan, and keeps its words to the site."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from nvflare_jobs.parties import pipe, places
from nvflare_jobs.parties.begun import BEGUN
from nvflare_jobs.parties.child import Child, Order
from nvflare_jobs.parties.tasks import READY
from nvflare_jobs.parties.terms import terms_for

STARTS_S = 120

PARENT = """
import sys, time
from pathlib import Path
from nvflare_jobs.parties.child import Child, Order
child = Child(Order("hosp-a", "{}", "job", ".", ".", False), Path(sys.argv[1]))
print(child.pid, flush=True)
child.receive()
print("listening", flush=True)
time.sleep(600)
"""


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until_gone(pid: int) -> None:
    end = time.monotonic() + STARTS_S
    while not gone(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("when", ["starts", "listens"])
def test_it_ends_with_the_process_that_started_it(tmp_path, death, when) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if when == "listens":
            assert parent.stdout.readline() == "listening\n"
        os.kill(parent.pid, death)
    until_gone(pid)


@pytest.fixture
def child_of(hospitals, tmp_path, monkeypatch):
    """``child_of(terms, job="job")``, which listens."""
    monkeypatch.setenv(places.SITES_DIR, str(hospitals))
    monkeypatch.setenv(places.STATE_DIR, str(tmp_path / "states"))
    started = []

    def make(text: str, job: str = "job") -> Child:
        child = Child(Order("hosp-a", text, job, ".", ".", False), tmp_path / "site.log")
        started.append(child)
        assert child.receive()[0][pipe.KIND] == pipe.LISTENING
        return child

    yield make
    for child in started:
        child.kill()
        child.bury()


def answered(child: Child, task: str) -> dict:
    answer = child.ask(pipe.TASK, task=task, numbers={})
    head, _ = child.receive()
    child.answered(head)
    return answer.result(0)


def test_it_tells_what_it_holds_and_why_it_cannot(child_of, tiny_run, tmp_path: Path) -> None:
    text = terms_for(tiny_run, ("hosp-a", "hosp-b", "hosp-c")).model_dump_json()
    child = child_of(text)
    assert answered(child, READY)["holdings"]
    assert "is not known at a site" in answered(child, "fedefm_other")["refused"]
    refusal = child.ask(pipe.MESSAGE, b"noise")
    child.answered(child.receive()[0])
    assert "not a message of this protocol" in refusal.result(0)
    child.tell(pipe.END)
    assert child.ends_within(STARTS_S)
    assert child.bury() == "ended with exit code 0 (its log at the site may say why)"


def test_a_job_that_it_cannot_read_is_refused_with_every_task(child_of) -> None:
    child = child_of("no JSON")
    for _ in range(2):
        assert "job's terms are not JSON" in answered(child, READY)["refused"]
    refusal = child.ask(pipe.MESSAGE, b"noise")
    child.answered(child.receive()[0])
    assert "takes no messages" in refusal.result(0)


def test_another_job_with_the_same_run_name_is_refused_and_changes_nothing(
    child_of, tiny_run, tmp_path
) -> None:
    text = terms_for(tiny_run, ("hosp-a", "hosp-b", "hosp-c")).model_dump_json()
    first = child_of(text)
    assert answered(first, READY)["saved"] == []
    state = tmp_path / "states" / "hosp-a" / tiny_run.name
    begun = (state / BEGUN).read_text()
    second = child_of(text, "another")
    for _ in range(2):
        told = answered(second, READY)["refused"]
        assert f"run {tiny_run.name!r} is running here in job job; wait for its end" in told
    assert (state / BEGUN).read_text() == begun
    first.kill()
    assert answered(child_of(text), READY)["holdings"]  # the same job goes on
    assert (state / BEGUN).read_text() == begun


FREED = """
import psutil, torch
from nvflare_jobs.parties.training_process import give_back_memory
torch.empty(2**22)  # from now on the library keeps pieces of this size
pieces = [torch.ones(2**19) for _ in range(400)]  # 2 MiB each
held = pieces[::2] + pieces[-1:]  # what stays keeps the heap from shrinking at its end
del pieces
before = psutil.Process().memory_info().rss
give_back_memory()
print((before - psutil.Process().memory_info().rss) // 2**20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not the GNU library")
def test_freed_weights_go_back_to_the_system() -> None:
    told = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert int(told.stdout) > 300  # of the 400 MiB that nobody holds

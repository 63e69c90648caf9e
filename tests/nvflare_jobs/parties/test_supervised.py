"""A training process may die in a task: a round is missed, and the next one is played."""

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest
from tiny_process import ask, header, until

from fedefm.errors import MessageRejected, ProtocolError
from nvflare_jobs.parties import supervised
from nvflare_jobs.parties.supervised import TrainingEnded
from nvflare_jobs.parties.tasks import MEASURE, PUBLISH, READY, ROUND


def test_tasks_are_answered_by_one_process(start) -> None:
    site = start()
    answers = [ask(site, ROUND, round=k) for k in range(3)]
    assert {answer["pid"] for answer in answers} == {site.pid}
    assert site.pid != os.getpid()


@pytest.mark.parametrize("task", [ROUND, MEASURE, PUBLISH])
@pytest.mark.parametrize(
    ("death", "words"),
    [
        ({"do": "die"}, r"was killed by signal 9 \(often: too little memory\)"),
        ({"do": "die", "by": "SIGSEGV"}, r"was killed by signal 11 \(SIGSEGV\)"),
        ({"do": "exit"}, "ended with exit code 5"),
    ],
)
def test_a_death_in_a_task_is_its_answer_and_the_next_process_takes_the_next(
    start, task, death, words
) -> None:
    site = start()
    with pytest.raises(TrainingEnded, match=f"of site 'hosp-a' {words}.* goes on from its last"):
        ask(site, task, **death)
    assert ask(site, ROUND, round=1)["life"] == 1


def test_to_be_ready_is_asked_again(start) -> None:
    assert ask(start("dies at start once"), READY)["life"] == 1
    site = start()
    assert ask(site, READY, do="die once")["life"] >= 1


def test_a_stopped_job_waits_for_nobody(start, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(supervised, "STOP_S", 0.5)
    site, stopped = start(), threading.Event()
    ask(site, READY)
    threading.Timer(0.5, stopped.set).start()
    with pytest.raises(ProtocolError, match="stopped"):
        site.ask(ROUND, {"round": 0, "do": "hang"}, stopped.is_set)
    until((tmp_path / "stopped").exists)


def test_it_is_let_to_end_by_itself(start, tmp_path) -> None:
    site = start()
    ask(site, ROUND)
    site.close()
    assert (tmp_path / "ended").exists()
    assert len((tmp_path / "lives").read_text()) == 1
    with pytest.raises(MessageRejected):
        site.take(header(1), b"mail")
    with pytest.raises(ProtocolError):
        ask(site, ROUND)


def test_one_that_does_not_end_is_killed(start, monkeypatch) -> None:
    monkeypatch.setattr(supervised, "END_S", 0.5)
    site = start()
    pid = ask(site, ROUND)["pid"]
    os.kill(pid, signal.SIGSTOP)
    site.close()
    assert not psutil.pid_exists(pid)


def test_it_is_loaded_without_torch() -> None:
    code = (
        "import sys, nvflare_jobs.parties.supervised, nvflare_jobs.components.site_executor;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""A training process may die at any time, and another takes its place, but not for ever."""

import os
import signal

import pytest
from tiny_process import ask, deliver, header, until

from fedefm.errors import MessageRejected
from nvflare_jobs.parties.child import Order
from nvflare_jobs.parties.supervised import Supervised, TrainingEnded
from nvflare_jobs.parties.tasks import READY, ROUND


@pytest.mark.parametrize("mischief", ["babble", "close"])
def test_a_process_that_cannot_be_spoken_to_is_replaced(start, monkeypatch, mischief) -> None:
    monkeypatch.setattr("nvflare_jobs.parties.child.REAP_S", 0.5)
    site = start()
    with pytest.raises(TrainingEnded, match="killed by signal 9"):
        ask(site, ROUND, do=mischief)
    assert ask(site, ROUND, round=1)["life"] == 1


def test_a_death_between_tasks_costs_nothing(start) -> None:
    site = start()
    pid = ask(site, ROUND)["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: site.pid not in (None, pid))
    assert ask(site, ROUND, round=1)["life"] == 1


def test_one_that_dies_again_and_again_is_given_up(start, tmp_path) -> None:
    site = start("dies at start")
    for task in (READY, ROUND):
        with pytest.raises(TrainingEnded, match=r"death 3 in a row .* no further part in this job"):
            ask(site, task)
    with pytest.raises(MessageRejected, match="no further part"):
        site.take(header(9), b"mail")
    assert len((tmp_path / "lives").read_text()) == 3


def test_a_finished_round_makes_deaths_forgotten_and_readiness_does_not(start) -> None:
    site = start()
    for k in range(0, 8, 2):
        with pytest.raises(TrainingEnded, match="goes on"):
            ask(site, ROUND, round=k, do="die")
        ask(site, ROUND, round=k + 1)
    for k in range(8, 10):
        with pytest.raises(TrainingEnded):
            ask(site, ROUND, round=k, do="die")
        ask(site, READY)
    with pytest.raises(TrainingEnded):
        ask(site, ROUND, round=10, do="die")
    with pytest.raises(TrainingEnded, match="in a row"):
        ask(site, ROUND, round=11)


def test_its_output_stays_in_the_sites_log(start, tmp_path, capfd) -> None:
    site = start()
    with pytest.raises(TrainingEnded):
        ask(site, ROUND, do="die")
    ask(site, ROUND, round=1)
    assert (tmp_path / "site.log").read_text().split("\n")[:2] == ["life 0", "life 1"]
    assert capfd.readouterr().out == ""


def test_a_process_that_cannot_be_started_is_told(tmp_path) -> None:
    order = Order("hosp-a", "", "job", str(tmp_path), str(tmp_path), False)
    site = Supervised(order, tmp_path / "log", deliver, [str(tmp_path / "nothing")])
    site.start()
    with pytest.raises(TrainingEnded, match="could not be started"):
        ask(site, READY)
    site.close()

"""A training process may die at any time: a round is missed, and the next one is played.

The process here is a tiny real one, which does on a task what the task's numbers say.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from fedefm.errors import MessageRejected, PolicyRefused, ProtocolError
from fedefm.train.header import Header
from nvflare_jobs.parties import supervised
from nvflare_jobs.parties.child import Order
from nvflare_jobs.parties.supervised import Supervised, TrainingEnded
from nvflare_jobs.parties.tasks import MEASURE, PUBLISH, READY, ROUND

CHILD = """
import os, signal, sys, threading, time
from pathlib import Path
from nvflare_jobs.parties.pipe import Pipe

pipe = Pipe(int(sys.argv[1]))
order, _ = pipe.receive()
folder = Path(order["kit"])
lives = folder / "lives"
life = len(lives.read_text()) if lives.exists() else 0
with lives.open("a") as file:
    file.write("x")
print("life", life, flush=True)
behavior = order["terms"]
if behavior == "dies at start" or (behavior == "dies at start once" and life == 0):
    os.kill(os.getpid(), signal.SIGKILL)
while behavior in ("waits to listen", "keeps slowly") and not (folder / "go").exists():
    time.sleep(0.02)
pipe.send("listening", next_round=0)
kept = []
while True:
    head, payload = pipe.receive()
    kind = head["kind"]
    if kind == "end":
        (folder / "ended").touch()
        sys.exit(0)
    if kind == "stop":
        (folder / "stopped").touch()
    if kind == "message":
        kept.append(payload.decode())
        if payload == b"poison" and life == 0:
            os._exit(7)
        if behavior == "keeps slowly":
            (folder / "keeping").touch()
            time.sleep(0.3)
        late = payload == b"late"
        pipe.send("kept", number=head["number"], answer="too late" if late else "")
    if kind == "outcome":
        pipe.send("answer", number=task, answer={"how": head["how"], "why": head["why"]})
    if kind == "task":
        task, numbers = head["number"], head["numbers"]
        do = numbers.get("do")
        if do == "die" or (do == "die once" and life == 0):
            os.kill(os.getpid(), getattr(signal, numbers.get("by", "SIGKILL")))
            time.sleep(60)
        if do == "exit":
            sys.exit(5)
        if do == "babble":
            os.write(int(sys.argv[1]), b"\\x00\\x00\\x00\\x05hello")
        if do == "close":
            os.close(int(sys.argv[1]))
            time.sleep(60)
        if do == "send":
            pipe.send("send", b"raw" * 100_000, number=1, receiver=numbers["to"])
        elif do not in ("hang", "babble"):
            told = {"life": life, "kept": kept, "pid": os.getpid()}
            pipe.send("answer", number=task, answer=told)
"""
NEVER = lambda: False  # noqa: E731
JOB_S = 30


def header(round_index: int, sender: str = "hosp-b") -> Header:
    return Header("tiny", "job", round_index, "weights", sender, "hosp-a", 1, "", "none")


def deliver(receiver: str, data: bytes) -> None:
    if receiver == "forbidden":
        raise PolicyRefused("the gate")
    if receiver == "silent":
        raise ProtocolError("not taken (TIMEOUT)")
    if receiver == "broken":
        raise KeyError("Jane Doe")
    assert data == b"raw" * 100_000


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    started = []
    script = tmp_path / "child.py"
    script.write_text(CHILD)

    def make(behavior: str = "") -> Supervised:
        order = Order("hosp-a", behavior, "job", str(tmp_path), str(tmp_path), False)
        made = Supervised(order, tmp_path / "site.log", deliver, [sys.executable, str(script)])
        started.append(made)
        made.start()
        return made

    yield make
    for each in started:
        each.close()
        assert each.pid is None
    assert not [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]


def ask(site: Supervised, task: str, **numbers) -> dict:
    return site.ask(task, {"round": 0, **numbers}, NEVER)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + JOB_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


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


def test_to_be_ready_is_asked_again(start) -> None:
    assert ask(start("dies at start once"), READY)["life"] == 1
    site = start()
    assert ask(site, READY, do="die once")["life"] >= 1


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


def test_mail_is_kept_or_refused_by_the_process(start) -> None:
    site = start()
    ask(site, READY)
    site.take(header(0), b"one")
    with pytest.raises(MessageRejected, match="too late"):
        site.take(header(0), b"late")
    assert ask(site, ROUND)["kept"] == ["one", "late"]


def test_mail_waits_for_the_next_process_but_not_for_a_round_that_is_missed(
    start, tmp_path
) -> None:
    site = start("waits to listen")
    site.take(header(0), b"early")
    (tmp_path / "go").touch()
    assert ask(site, ROUND, round=4)["kept"] == ["early"]
    (tmp_path / "go").unlink()
    with pytest.raises(TrainingEnded):
        ask(site, ROUND, round=5, do="die")
    with pytest.raises(MessageRejected, match=r"\(round 5, weights\).*died in this round"):
        site.take(header(5), b"missed")
    for number in range(8):
        site.take(header(6), f"mail {number}".encode())
    with pytest.raises(MessageRejected, match="too much is waiting"):  # no older mail is lost
        site.take(header(6), b"one more")
    site.take(header(6, "hosp-c"), b"other")
    (tmp_path / "go").touch()
    kept = ask(site, ROUND, round=6)["kept"]
    assert kept == [*(f"mail {number}" for number in range(8)), "other"]


def test_much_mail_is_handed_over_while_the_process_answers(start, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("nvflare_jobs.parties.pipe.STUCK_S", 3)
    site = start("waits to listen")
    sent = [f"{sender} {number}" for sender in range(200) for number in range(8)]
    for text in sent:
        site.take(header(0, text.split()[0]), text.encode())
    (tmp_path / "go").touch()
    told = ask(site, ROUND)
    assert told["life"] == 0
    assert told["kept"] == sent


def test_mail_that_comes_during_the_handing_over_waits_behind(start, tmp_path) -> None:
    site = start("keeps slowly")
    for number in range(4):
        site.take(header(0), f"held {number}".encode())
    (tmp_path / "go").touch()
    until((tmp_path / "keeping").exists)
    site.take(header(0), b"came meanwhile")
    assert ask(site, ROUND)["kept"] == [*(f"held {n}" for n in range(4)), "came meanwhile"]


def test_one_that_dies_of_held_mail_leaves_the_rest_of_it_to_the_next(start, tmp_path) -> None:
    site = start("waits to listen")
    for data in (b"before", b"poison", b"after"):
        site.take(header(0), data)
    (tmp_path / "go").touch()
    told = ask(site, ROUND)
    assert (told["life"], told["kept"]) == (1, ["after"])


def test_no_more_mail_is_held_than_memory_allows(start, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("nvflare_jobs.parties.held.MOST_BYTES", 10)
    site = start("waits to listen")
    site.take(header(0), b"12345678")
    with pytest.raises(MessageRejected, match="too much is waiting"):
        site.take(header(0, "hosp-c"), b"123")
    (tmp_path / "go").touch()
    assert ask(site, ROUND)["kept"] == ["12345678"]


def test_a_message_in_whose_hands_the_process_dies_waits_for_the_next(start) -> None:
    site = start()
    ask(site, ROUND)
    site.take(header(3), b"poison")
    assert ask(site, ROUND, round=3)["kept"] == ["poison"]


@pytest.mark.parametrize(
    ("receiver", "told"),
    [
        ("hosp-b", {"how": "sent", "why": ""}),
        ("silent", {"how": "not taken", "why": "not taken (TIMEOUT)"}),
        ("forbidden", {"how": "forbidden", "why": "the gate"}),
        ("broken", {"how": "not taken", "why": "not taken (KeyError, see the site's own log)"}),
    ],
)
def test_what_is_sent_has_an_outcome(start, receiver, told) -> None:
    assert ask(start(), ROUND, do="send", to=receiver) == told


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


def test_it_is_loaded_without_torch() -> None:
    code = (
        "import sys, nvflare_jobs.parties.supervised, nvflare_jobs.components.site_executor;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

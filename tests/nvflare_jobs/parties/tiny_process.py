"""A tiny real process in the place of a training one: on a task it does what the numbers say."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fedefm.errors import PolicyRefused, ProtocolError
from fedefm.train.header import Header
from nvflare_jobs.parties.child import Order
from nvflare_jobs.parties.supervised import Supervised

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


def ask(site: Supervised, task: str, **numbers) -> dict:
    return site.ask(task, {"round": 0, **numbers}, lambda: False)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + JOB_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def starting(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    """Starts such processes in ``tmp_path``, and sees to their end."""
    started: list[Supervised] = []
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

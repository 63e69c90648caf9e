"""The same rounds on really provisioned sites: submitted, timed from the run's events, watched."""

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from _round_task import KINDS, kinds_of
from loopback import SERVER, Federation, until

from fedefm.events import Event, read_events
from fedefm.train.run_files import EVENTS

INJECTED = Path(__file__).parent / "_injected"
MIB = 2**20
SAMPLE_S = 1.0


class SteadyFederation(Federation):
    """A federation whose sites train for given times; see ``_steady.py``."""

    fits: Sequence[float] = (0.0,)

    @property
    def environment(self) -> dict[str, str]:
        """Of every process, with what makes training steady."""
        seconds = ",".join(f"{each:g}" for each in self.fits)
        path = os.pathsep.join(filter(None, [str(INJECTED), os.environ.get("PYTHONPATH")]))
        return {**super().environment, "BENCH_FIT_S": seconds, "PYTHONPATH": path}

    def shutdown(self) -> None:
        """At once: nothing is measured any more."""
        for name in (SERVER, *self.sites):
            self.kill(name)
        self._started.clear()


class Memory:
    """The largest unshared memory (USS) of all processes of one job, by kit."""

    def __init__(self, federation: Federation, job: str) -> None:
        self._federation, self._job = federation, job
        self._over = threading.Event()
        self.peaks: dict[str, int] = defaultdict(int)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_S):
            for name in (SERVER, *self._federation.sites):
                family = job_family(self._federation, name, self._job)
                self.peaks[name] = max(self.peaks[name], sum(uss_of(each) for each in family))


def job_family(federation: Federation, name: str, job: str) -> list[psutil.Process]:
    """The process of a job at one kit, and its children."""
    process = federation.job_process(name, job)
    try:
        return [] if process is None else [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def uss_of(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def play_in_flare(federation: Federation, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Submit a run, wait for its end, and tell what its rounds took.

    Raises AssertionError where the job did not end well, or a round missed somebody.
    """
    job_folder = federation.export(settings)
    asked = time.time()
    job = federation.submit(job_folder)
    submitted = time.time()
    with Memory(federation, job) as memory:
        ended = wait_finished(federation, job)
    events = list(read_events(federation.download(job) / EVENTS))
    rounds = rounds_in(events)
    first = next(e["time"] for e in events if e["event"] == "round_started")
    last = max(e["time"] for e in events if e["event"] == "round_finished")
    over = max(e["time"] for e in events if e["event"] == "run_finished")  # the model is published
    return {
        "rounds": rounds,
        "memory_mib": {name: peak / MIB for name, peak in memory.peaks.items()},
        "submit_command_s": submitted - asked,
        "submit_to_first_round_s": first - submitted,
        "last_round_to_finished_s": ended - last,
        "published_to_finished_s": ended - over,
    }


def wait_finished(federation: Federation, job: str, timeout_s: float = 1800.0) -> float:
    """When the server has noted the end of a job; the job store is read, as FLARE's commands take
    seconds. Raises AssertionError where the job did not complete."""
    status: list[str] = []

    def is_over() -> bool:
        status[:] = [stored_status(federation, job)]
        return status[0].startswith("FINISHED")

    until(f"job {job} is finished", is_over, timeout_s)
    ended = time.time()
    if status[0] != "FINISHED:COMPLETED":
        raise AssertionError(f"the job ended as {status[0]}: {federation.meta(job)}")
    return ended


def stored_status(federation: Federation, job: str) -> str:
    for path in (federation.kit(SERVER) / "jobs").glob(f"**/{job}/meta*"):
        try:
            return str(json.loads(path.read_text())["status"])
        except (OSError, ValueError, KeyError):
            continue
    return ""


def rounds_in(events: Sequence[Event]) -> dict[str, list[dict[str, float]]]:
    """By kind of round: seconds from its begin until all is written down, and bytes of messages."""
    begun = [e["time"] for e in events if e["event"] == "round_started"]
    over = [e["time"] for e in events if e["event"] == "checkpoint"]
    bytes_of: dict[int, int] = defaultdict(int)
    for event in events:
        if event["event"] in ("round", "server"):
            bytes_of[event["round"]] += event["sent_bytes"]
        if event["event"] == "rejected" or event.get("missing") or event.get("reason"):
            raise AssertionError(f"not a sound round: {event}")
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for number, kind in enumerate(kinds_of(len(begun))):
        seconds = over[number] - begun[number]
        found[kind].append({"seconds": seconds, "bytes": bytes_of[number]})
    return found

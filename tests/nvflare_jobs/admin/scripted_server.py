"""A server that is told what to say, in place of FLARE's."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SITES = ("hosp-a", "hosp-B", "St-Marys")
JOB = "946e6a37-3553-4d15-81ce-cb18f6cd9ec3"


def meta(status: str, **more: Any) -> dict[str, Any]:
    """What FLARE writes down of a job."""
    deployed = {f"app_{site}": [site] for site in SITES} | {"app_server": ["server"]}
    known = {"job_id": JOB, "name": "tiny", "status": status, "submitter_name": "lead@hub.org"}
    return {**known, "deploy_map": deployed, **more}


class ScriptedServer:
    """Answers each question with the next of what it was given; the last one stays."""

    def __init__(self, metas: Sequence[Any], told: Sequence[Any] = ()) -> None:
        self.who = "lead@hub.org"
        self.metas, self.told = list(metas), list(told)
        self.asked: list[str] = []
        self.submitted: list[Path] = []
        self.connected = list(SITES)
        self.leave: Callable[[Path], None] = lambda folder: None  # what a download finds
        self.open = 0

    def connected_sites(self) -> list[str]:
        return self.connected

    def submit(self, job: Path) -> str:
        self.submitted.append(job)
        return JOB

    def meta(self, job: str) -> dict[str, Any]:
        self.asked.append("meta")
        return dict(_next(self.metas))

    def jobs(self) -> list[dict[str, Any]]:
        return [dict(each) for each in self.metas]

    def progress(self, job: str, after: int) -> dict[str, Any]:
        self.asked.append(f"progress {after}")
        return dict(_next(self.told))

    def abort(self, job: str) -> None:
        self.asked.append("abort")

    def download(self, job: str, folder: Path) -> Path:
        self.asked.append("download")
        found = folder / job
        (found / "workspace").mkdir(parents=True)
        self.leave(found / "workspace")
        return found

    def close(self) -> None:
        self.open -= 1

    def log_in(self) -> "ScriptedServer":
        self.open += 1
        return self


def _next(script: list[Any]) -> Any:
    found = script.pop(0) if len(script) > 1 else script[0]
    if isinstance(found, BaseException):
        raise found
    return found


def run_events(rounds: int = 2, silent: str = "") -> list[dict[str, Any]]:
    """The events of a short run."""
    events: list[dict[str, Any]] = [
        {
            "event": "run_started", "name": "tiny", "sites": list(SITES), "rounds": rounds,
            "scenario": "decentralized", "where": "prod",
        }
    ]  # fmt: skip
    for number in range(rounds):
        events.append({"event": "round_started", "round": number})
        for site in SITES:
            if site != silent:
                events.append(_turn(number, site))
        missing = {silent: "did not answer"} if silent else {}
        present = [site for site in SITES if site != silent]
        ended = {"round": number, "participants": present, "missing": missing, "seconds": 2.0}
        events += [{"event": "round_finished", **ended}, {"event": "checkpoint", "round": number}]
    return [{"time": 1000.0 + n, **event} for n, event in enumerate(events)]


def _turn(number: int, site: str) -> dict[str, Any]:
    seconds = {"seconds": 2.0, "train_seconds": 1.0, "exchange_seconds": 0.5}
    told = {"sent_bytes": 1000, "received_bytes": 900, "loss": 1.5, "learning_rate": 0.1}
    return {"event": "round", "round": number, "site": site, "status": "ok", **seconds, **told}


def lines(events: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def telling(events: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """One answer of a running job."""
    text = lines(events)
    return {"events": text, "next": len(text), "standing": {}, "ended": None, **more}

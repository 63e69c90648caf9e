"""What became of a job, out of what the server, the job itself and its log say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fedefm.errors import ProtocolError
from nvflare_jobs.admin.job_facts import AGAIN, JobFacts

_NOT_ALLOWED = re.compile(r"[^\n]*(?:ComponentNotAuthorized|not in allow_list)[^\n]*")
_CLASS = re.compile(r"[\w.]+\.[A-Z]\w+")


class JobEnded(ProtocolError):
    """A job that is over without having done what it was for."""


@dataclass(frozen=True)
class Outcome:
    """Whether a job has done what it was for, and if not why not."""

    done: bool
    sentence: str


def outcome_of(facts: JobFacts, told: Mapping[str, str] | None = None, log: str = "") -> Outcome:
    """The outcome of a job that is over.

    ``told`` is its ``status.json``, where there is one, and ``log`` the log of its process at the
    server.
    """
    if told is not None and told.get("status") == "finished":
        return Outcome(True, f"job {facts.name} has finished")
    reasons = facts.refusals()
    if told is not None and told.get("sentence"):
        ended = "was aborted" if "ABORTED" in facts.status else "has failed"
        why = f"job {facts.name} {ended} ({facts.status}): {_clean(told['sentence'])}"
        return Outcome(False, ". ".join([why, *reasons, f"To go on: {AGAIN}"]))
    if told is None and facts.completed:
        return Outcome(True, facts.sentence())
    reasons += [_unknown_class(log)] if _NOT_ALLOWED.search(log) else []
    return Outcome(False, ". ".join([facts.sentence(), *reasons]))


def _clean(sentence: str) -> str:
    return sentence.rstrip(".")


def _unknown_class(log: str) -> str:
    found = _NOT_ALLOWED.search(log)
    line = found[0] if found else ""
    named = _CLASS.findall(line)
    what = named[-1] if named else "a class"
    return (
        f"The server builds no {what}, for its class_allow_list does not have it; let its kit be "
        f"made anew with this toolkit's builders (FLARE says: {' '.join(line.split())[-300:]})"
    )

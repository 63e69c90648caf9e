"""What became of a job, out of what the server, the job itself and its log say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fedefm.errors import ProtocolError, QuorumLost
from nvflare_jobs.admin.job_facts import AGAIN, ANEW, JobFacts

_NOT_ALLOWED = re.compile(r"ComponentNotAuthorized: [^\n]*|[^\n]*not in allow_list[^\n]*")
_CLASS = re.compile(r"(?:\w+\.){2,}[A-Z]\w+")
_SETTINGS = ("ConfigError", "ModelError")  # the same run file would fail in the same way again
NEVER_BEGAN = ("FINISHED:FAILED_TO_RUN", "FINISHED:CAN_NOT_SCHEDULE")


class JobEnded(ProtocolError):
    """A job that is over without having done what it was for."""


@dataclass(frozen=True)
class Outcome:
    """Whether a job has done what it was for, and if not why not."""

    done: bool
    sentence: str
    error: str = ""  # the kind of error with which the job itself ended


def outcome_of(
    facts: JobFacts,
    told: Mapping[str, str] | None = None,
    log: str = "",
    rounds: int | None = None,
) -> Outcome:
    """The outcome of a job that is over.

    ``told`` is its ``status.json``, where there is one, ``log`` the log of its process at the
    server, and ``rounds`` how many of its run are over, where that is known.
    """
    if told is not None and told.get("status") == "finished":
        return Outcome(True, f"job {facts.name} has finished")
    if told is None and facts.completed:
        return Outcome(True, facts.sentence())
    parts = [facts.sentence()]
    if told is not None and told.get("sentence"):
        parts = [f"{parts[0]}: {told['sentence'].rstrip('.')}"]
    parts += facts.refusals()
    if found := _NOT_ALLOWED.search(log):
        parts.append(_unknown_class(found[0]))
    error = str((told or {}).get("error", ""))
    can_go_on = facts.status not in NEVER_BEGAN and rounds != 0 and error not in _SETTINGS
    if can_go_on and not found:
        parts.append(AGAIN)
    elif rounds == 0 and error == QuorumLost.__name__:
        parts.append(ANEW)
    return Outcome(False, ". ".join(parts), error)


def _unknown_class(line: str) -> str:
    named = _CLASS.findall(line)
    what = named[-1] if named else "one of its classes"
    return (
        f"The server builds {what} for no job, since its class_allow_list does not have it; let "
        "the server's kit be made anew with the builders of this toolkit "
        f"(FLARE says: {' '.join(line.split())[-300:]})"
    )

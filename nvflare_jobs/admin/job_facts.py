"""What the server has written down of a job, in sentences: how it stands, and who refused it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedefm.report.numbers import listed

WAITING, RUNNING, OVER = "waiting", "running", "over"
COMPLETED = "FINISHED:COMPLETED"
_STAGES = {
    "SUBMITTED": WAITING,
    "APPROVED": WAITING,
    "DISPATCHED": WAITING,
    "RUNNING": RUNNING,
}
AGAIN = "To go on after its last full round: fedefm job submit RUN.yaml --resume"
ANEW = "It has played no round; submit it in the same way when enough sites can take part"
_MEANINGS = {
    "SUBMITTED": "waits to be scheduled",
    "APPROVED": "waits to be scheduled",
    "DISPATCHED": "is being handed to the sites",
    "RUNNING": "is running",
    COMPLETED: "has finished",
    "FINISHED:ABORTED": "was aborted",
    "FINISHED:EXECUTION_EXCEPTION": "has failed",
    "FINISHED:ABNORMAL": "was lost: its process at the server ended without a word",
    "FINISHED:ABANDONED": "was lost when the server was restarted",
    "FINISHED:CAN_NOT_SCHEDULE": "never began: the server gave up waiting for enough sites; submit "
    "it again when they are connected",
    "FINISHED:FAILED_TO_RUN": "never began: it was refused",
}
_WORDS = {  # where none is: failed
    COMPLETED: "finished",
    "FINISHED:ABORTED": "aborted",
    "FINISHED:FAILED_TO_RUN": "refused",
    "FINISHED:CAN_NOT_SCHEDULE": "refused",
    "FINISHED:ABNORMAL": "lost",
    "FINISHED:ABANDONED": "lost",
}
_FLARES_MARK = re.compile(r"^NVFLARE_ERROR:\s*|^ERROR:\s*")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\s*")
_DURATION = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")
SERVER = "server"


@dataclass(frozen=True)
class JobFacts:
    """One job as FLARE's server knows it."""

    job: str
    name: str
    status: str  # FLARE's word
    submitter: str
    submitted: str
    seconds: float | None  # as FLARE counts them: from its handing the job out to the job's end
    sites: tuple[str, ...]
    refused: Mapping[str, str]  # who did not take the job when it was deployed, and why
    schedule: tuple[str, ...]  # what the server found each time it tried to begin

    @property
    def stage(self) -> str:
        """Waiting, running, or over."""
        return _STAGES.get(self.status, OVER)

    @property
    def word(self) -> str:
        """How the job stands in one word: waiting, running, finished, aborted, refused, lost,
        failed."""
        return self.stage if self.stage != OVER else _WORDS.get(self.status, "failed")

    @property
    def completed(self) -> bool:
        """Whether FLARE takes it for a success; only the run folder knows."""
        return self.status == COMPLETED

    @property
    def lost(self) -> bool:
        """Whether it ended without having been able to say why."""
        return self.status in ("FINISHED:ABNORMAL", "FINISHED:ABANDONED")

    def sentence(self) -> str:
        """How the job stands, with FLARE's word for it."""
        meaning = _MEANINGS.get(self.status, "has a status that is not known here")
        text = f"job {self.name} {meaning} ({self.status})"
        if self.status == "SUBMITTED" and self.schedule:
            text += f"; {self.schedule[-1]}"
        return text

    def refusals(self) -> list[str]:
        """Who refused the job, in a sentence for each reason."""
        by_reason: dict[str, list[str]] = {}
        for site, why in self.refused.items():
            by_reason.setdefault(why, []).append(site)
        return [f"{listed(sites)} refused it: {why}" for why, sites in by_reason.items()]


def facts_of(meta: Mapping[str, Any]) -> JobFacts:
    """The facts in FLARE's ``meta`` of a job, whatever of it is there."""
    deployed = meta.get("deploy_map") or {}
    sites = [site for named in deployed.values() for site in _names(named) if site != SERVER]
    history = [_STAMP.sub("", str(line)) for line in meta.get("schedule_history") or ()]
    return JobFacts(
        job=str(meta.get("job_id", "")),
        name=str(meta.get("name") or meta.get("job_name") or "without a name"),
        status=str(meta.get("status", "")),
        submitter=str(meta.get("submitter_name", "")),
        submitted=str(meta.get("submit_time_iso") or meta.get("submit_time") or ""),
        seconds=_seconds(str(meta.get("duration") or "")),
        sites=tuple(sites),
        refused=_refused(meta.get("job_deploy_detail") or ()),
        schedule=tuple(_scheduled(line) for line in history),
    )


def _seconds(duration: str) -> float | None:
    """Of Python's way to write a duration, which FLARE's is; None where it is none."""
    if (found := _DURATION.fullmatch(duration)) is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


def _names(named: Any) -> Sequence[str]:
    sites = named.get("sites", ()) if isinstance(named, dict) else named
    return [str(site) for site in sites]


def _refused(detail: Sequence[Any]) -> dict[str, str]:
    """FLARE's lines are `site: OK` or `site: what it said`."""
    told = [str(line).partition(":") for line in detail]
    said = {site.strip(): _FLARES_MARK.sub("", why.strip()) for site, _, why in told}
    return {site: _known(why) for site, why in said.items() if why and why != "OK"}


def _known(why: str) -> str:
    """FLARE's own refusals with the way out; ours have one."""
    if "BYOC not permitted" in why:
        return f"{why}: the job brings code of its own; make it with `fedefm job export`"
    if "privacy scope" in why and "not allowed" in why:
        return f"{why}: the job names a privacy scope; jobs of `fedefm job export` name none"
    return why


def _scheduled(line: str) -> str:
    found = re.search(r"connected sites \((\d+)\) < min_sites \((\d+)\)", line)
    if found:
        return f"sites connected to the server: {found[1]}, needed: {found[2]} ({line})"
    return f"the server says: {line}"

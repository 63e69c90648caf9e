"""Where a job stands, out of all looks at it so far; lines and status page are made of it."""

from collections.abc import Mapping
from typing import Any

from fedefm.events import Event
from fedefm.report.numbers import duration
from fedefm.report.record import RunRecord, record_so_far
from fedefm.report.watch import RunState
from nvflare_jobs.admin.following import Look
from nvflare_jobs.admin.job_facts import OVER, JobFacts
from nvflare_jobs.admin.outcome import NEVER_BEGAN, Outcome

LATE_S = 10.0  # after the first of the others was done
FRAME = ("time", "event", "site")


class JobView:
    """One job, as far as it is known here."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.facts: JobFacts | None = None
        self.run = RunState()
        self.events: list[Event] = []
        self.standing: Mapping[str, Any] = {}
        self.trouble = ""
        self.outcome: Outcome | None = None  # once the job is over
        self.spending: dict[str, dict[str, Any]] = {}  # by site: epsilon of this run
        self.budgets: dict[str, dict[str, Any]] = {}  # by site: what its cap leaves, where told

    def take(self, look: Look) -> None:
        """Bring the view up to date."""
        self.facts = look.facts or self.facts
        self.trouble = look.trouble
        if look.standing:
            self.standing = look.standing
        for event in look.events:
            self.events.append(event)
            self.run.take(event)
            self._take_privacy(event)

    @property
    def state(self) -> str:
        """In one word: waiting, running, finished, failed, refused, aborted, lost."""
        if self.facts is None:
            return "unknown"
        if self.facts.stage == OVER and self.outcome is not None and self.outcome.done:
            return "finished"
        return self.facts.word

    @property
    def never_began(self) -> bool:
        """Whether it is over without having run."""
        return self.facts is not None and self.facts.status in NEVER_BEGAN

    @property
    def name(self) -> str:
        return self.facts.name if self.facts else self.job

    @property
    def sites(self) -> tuple[str, ...]:
        """All sites of the job, in its order."""
        return tuple(self.run.sites) or (self.facts.sites if self.facts else ())

    @property
    def refused(self) -> dict[str, str]:
        """Who takes no part in the job, and why."""
        at_start: Mapping[str, str] = self.standing.get("refused") or {}
        return {**at_start, **(self.facts.refused if self.facts else {})}

    @property
    def record(self) -> RunRecord:
        """The run as the report shows it, as far as it has told."""
        return record_so_far(self.events)

    def late(self) -> dict[str, float]:
        """Who has not answered though others have, and for how many seconds now."""
        if self.state != "running" or not self.standing.get("task"):
            return {}
        answered: Mapping[str, float] = self.standing.get("answered") or {}
        heard = {*answered, *self.refused}  # who has refused is waited for by nobody
        silent = [site for site in self.standing.get("awaited", ()) if site not in heard]
        if not answered or not silent:
            return {}
        behind = float(self.standing.get("seconds", 0.0)) - min(answered.values())
        return dict.fromkeys(silent, behind) if behind >= LATE_S else {}

    def lateness(self) -> dict[str, str]:
        """Who is late, and how much, as a part of a sentence."""
        return {
            site: f"others were done {duration(seconds)} ago"
            for site, seconds in sorted(self.late().items())
        }

    def _take_privacy(self, event: Event) -> None:
        told = {name: value for name, value in event.items() if name not in FRAME}
        if event["event"] == "privacy_planned":
            self.spending[event["site"]] = {**told, "at_most": True}
        elif event["event"] == "privacy_spent":
            self.spending[event["site"]] = told
        elif event["event"] == "budget":
            self.budgets[event["site"]] = told

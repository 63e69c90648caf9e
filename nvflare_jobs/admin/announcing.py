"""What is new about a job, line by line: what the events of the run do not tell themselves."""

from collections.abc import Callable

from fedefm.report.numbers import plain
from nvflare_jobs.admin.job_facts import OVER
from nvflare_jobs.admin.job_view import JobView

Say = Callable[[str], None]


class Announcer:
    """Says each thing once, and again only when it has changed."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._status = self._trouble = ""
        self._refused: dict[str, str] = {}
        self._late: set[str] = set()

    def look(self, view: JobView) -> None:
        """Say what is new since the last time."""
        self._tell_trouble(view)
        if view.facts is None or view.facts.stage == OVER:  # what became of it is told in one
            return
        if (status := view.facts.sentence()) != self._status:
            self._status = status
            self._say(status)
        for site, why in view.refused.items():
            if self._refused.get(site) != why:
                self._say(f"{site} takes no part: {why}")
        self._refused = dict(view.refused)
        late = view.lateness()
        for site in sorted(set(late) - self._late):
            self._say(plain(f"{site} is late: {late[site]}"))
        self._late = set(late)

    def _tell_trouble(self, view: JobView) -> None:
        if view.trouble and view.trouble != self._trouble:
            self._say(view.trouble)
        if self._trouble and not view.trouble and "cannot be reached" in self._trouble:
            self._say("the server answers again")
        self._trouble = view.trouble

"""What the sites of a job say of their patients' budget, as it comes to the server."""

from collections.abc import Mapping
from typing import Any

from fedefm.events import EventLog
from nvflare_jobs.parties.gathering import Answers


class PrivacyTold:
    """``by_site``: what was spent, or until that is told, what will be at most."""

    def __init__(self) -> None:
        self.by_site: dict[str, dict[str, Any]] = {}

    def planned(self, log: EventLog, site: str, answer: Mapping[str, Any]) -> None:
        """What a site will spend at most; it stands for what was spent until that is told."""
        if planned := answer.get("planned"):
            log.emit("privacy_planned", site=site, **planned)
            self.by_site[site] = {**planned, "at_most": True}
        if left := answer.get("budget"):
            log.emit("budget", site=site, **left)

    def spent(self, log: EventLog, answers: Answers) -> None:
        """What each site has spent in the run that is over."""
        for site, answer in answers.items():
            if spent := answer.get("privacy"):
                log.emit("privacy_spent", site=site, **spent)
                self.by_site[site] = spent

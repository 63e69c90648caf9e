"""What guards one private site through one job: its ledger opened, its budget set aside, told."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedefm.config import read_site
from fedefm.data.dataset import FrameDataset
from fedefm.data.manifest import Manifest
from fedefm.train.effort import efforts
from fedefm.train.protection import Protection
from nvflare_jobs.parties.terms import Terms
from nvflare_jobs.protect import ByLedger, open_ledger
from privacy.ledger import Head


class SiteGuard:
    """One site's budget in one job; ``job`` is FLARE's id of it.

    Every method may raise what a policy, a ledger or a plan raises.
    """

    def __init__(self, site: str, site_file: Path, terms: Terms, job: str) -> None:
        self._site, self._site_file, self._terms = site, site_file, terms
        self._job = job
        self._heads: dict[str, Head] = {}
        self.protection: Protection | None = None

    def check(self, manifest: Manifest) -> None:
        """Refuse by the site's policy, before an image is decoded."""
        ByLedger(self._job).check(self._site, self._site_file, self._terms.run, manifest)

    def look_into_ledger(self, known_head: Mapping[str, Any] | None) -> None:
        """Refuse a ledger in doubt, or one without the entry that the server remembers."""
        self._heads = {self._site: Head(**known_head)} if known_head else {}
        settings, known = read_site(self._site_file), self._heads.get(self._site)
        open_ledger(self._site, self._site_file, settings, known).close()

    def protect(self, begin: int, run_id: str, data: FrameDataset) -> None:
        """Set the budget of all rounds from ``begin`` aside, unless that is done."""
        if self.protection is not None:
            return
        run, plan = self._terms.run, self._terms.plan()
        ahead = efforts(run, plan.schedule, self._site, begin, plan.asked)
        protect = ByLedger(self._job, self._heads)
        self.protection = protect(self._site, self._site_file, run, ahead, run_id, data)

    def told(self) -> dict[str, Any]:
        """The ledger's newest entry, for the server to remember."""
        if self.protection is None:
            return {}
        return {"ledger_head": asdict(self.protection.release.head())}

    def planned(self) -> dict[str, Any]:
        """What the rounds to come cost at most."""
        return {} if self.protection is None else dict(self.protection.release.planned() or {})

    def left(self) -> dict[str, Any]:
        """What the site's cap leaves; nothing unless its own file allows that to be told."""
        allowed = read_site(self._site_file).policy.allowed_metrics
        if self.protection is None or "budget" not in allowed:
            return {}
        return {"budget": self.protection.release.budget()}

    def give_back(self) -> None:
        """The run does not begin: nothing stays set aside for it."""
        if self.protection is not None:
            self.protection.release.finish()

    def close(self) -> None:
        """Let go of the ledger; what is set aside stays, for the run to be resumed."""
        if self.protection is not None:
            self.protection.release.close()
        self.protection = None

"""A site's privacy budget in one job, whichever of its processes speaks for it.

A run without differential privacy has none: no ledger is asked, and nothing is told.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedefm.data.dataset import FrameDataset
from fedefm.train.protection import Protection
from nvflare_jobs.parties.saved_run import SavedRun
from nvflare_jobs.parties.terms import Terms

if TYPE_CHECKING:
    from nvflare_jobs.parties.site_guard import SiteGuard


class SiteBudget:
    """Held to what the server remembers, set aside for ``data``, told, and given back.

    ``guard`` is None in a run that is not private. Every method may raise what a policy, a ledger
    or a plan raises.
    """

    def __init__(
        self, guard: "SiteGuard | None", saved: SavedRun, data: FrameDataset, resume: bool
    ) -> None:
        self._guard, self._saved, self._data, self._resume = guard, saved, data, resume

    def be_ready(self, known_head: Mapping[str, Any] | None) -> None:
        """Hold the ledger to what the server remembers, and set a new run's budget aside.

        A resumed run's is when it is known from where it goes on.
        """
        known = None
        if self._guard is not None:
            known = known_head or self._saved.known_head
            self._guard.look_into_ledger(known)
        self._saved.note(known_head=known)  # whoever takes over relies on it
        if not self._resume and not self._saved.has_begun:
            self.set_aside(0)

    def look_again(self) -> None:
        """Into the ledger, where another process of this job was told what the server knows."""
        if self._guard and self._guard.protection is None and self._saved.begun is not None:
            self._guard.look_into_ledger(self._saved.known_head)

    def set_aside(self, begin: int) -> Protection | None:
        """The budget of the rounds from ``begin``, and what guards the site in them."""
        if self._guard is None:
            return None
        self._guard.protect(begin, self._saved.run_id, self._data)
        return self._guard.protection

    def give_back(self) -> None:
        """Nothing stays set aside for the run, also by another process before this one."""
        if self._guard is None:
            return
        if self._saved.begun is not None and not self._saved.has_begun and not self._resume:
            self.look_again()
            self.set_aside(0)
        self._guard.give_back()

    def planned(self) -> dict[str, Any]:
        """What may be told of the rounds to come: their cost at most, and what the cap leaves."""
        return {} if self._guard is None else {"planned": self._guard.planned()} | self.left()

    def left(self) -> dict[str, Any]:
        """What the site's cap leaves, where the site tells it."""
        return {} if self._guard is None else self._guard.left()

    def head(self) -> dict[str, Any]:
        """The ledger's newest entry, for the server to remember."""
        return {} if self._guard is None else self._guard.told()

    def close(self) -> None:
        """Let go of the ledger; what is set aside stays, for the run to be resumed."""
        if self._guard is not None:
            self._guard.close()


def guard_of(site: str, site_file: Path, terms: Terms, job: str) -> "SiteGuard | None":
    """What guards ``site`` in this job; None in a run that is not private."""
    if terms.run.privacy.dp is None:
        return None
    from nvflare_jobs.parties.site_guard import SiteGuard  # the privacy packages load slowly

    return SiteGuard(site, site_file, terms, job)

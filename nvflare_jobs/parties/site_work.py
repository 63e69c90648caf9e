"""What one site does in a job: its data, its state, its rounds.

Knows nothing of FLARE. What leaves is decided by the site's own file (``parties/disclosure.py``),
and which rounds it plays by what it has begun before (``parties/course.py``).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedefm.config import SiteConfig, read_site
from fedefm.data.loading import Splits
from fedefm.errors import ConfigError, PolicyRefused, ProtocolError
from fedefm.train.assemble import (
    build_site,
    check_promises,
    check_share,
    find_manifest,
    load_data,
    scan_mode_at,
)
from fedefm.train.pretext import pretext_of
from fedefm.train.rounds import algorithm_for
from fedefm.train.site import Site
from fedefm.train.workshop import holdings
from nvflare_jobs.parties import places
from nvflare_jobs.parties.course import Course
from nvflare_jobs.parties.disclosure import Disclosure
from nvflare_jobs.parties.heads import KNOWN_HEADS
from nvflare_jobs.parties.hiding import hiding
from nvflare_jobs.parties.identities import Credentials
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.reasons import discretion_of
from nvflare_jobs.parties.saved_run import SavedRun
from nvflare_jobs.parties.site_budget import SiteBudget, guard_of
from nvflare_jobs.parties.site_rounds import SiteRounds
from nvflare_jobs.parties.tasks import DISMISS, MEASURE, PUBLISH, READY, ROUND
from nvflare_jobs.parties.terms import Terms

if TYPE_CHECKING:
    from nvflare_jobs.parties.site_guard import SiteGuard


class SiteWork:
    """One site in one job.

    Args:
        site_file: the hospital's ``fedefm_site.yaml``.
        state_folder: where this site keeps its state of the run, and nobody else writes.
        encrypted: whether messages travel encrypted from end to end.
        simulated: all sites are folders of one machine, so nothing is there to be encrypted.
        job: FLARE's id of the job, for the ledger and for secure sums.
        credentials: without which a run with secure sums is refused.
    """

    def __init__(
        self,
        name: str,
        terms: Terms,
        site_file: Path,
        state_folder: Path,
        encrypted: bool,
        simulated: bool,
        job: str = "",
        credentials: Credentials | None = None,
    ) -> None:
        self.name, self.terms = name, terms
        run, settings = terms.run, read_site(site_file)
        _refuse_terms(name, terms, settings, encrypted or simulated)
        discretion = discretion_of(site_file, simulated)
        self._disclosure = Disclosure(
            settings.policy, run, pretext_of(run, name).yardstick, discretion
        )
        self._troubles: list[str] = []  # of secure sums, for the next report
        self._secrecy = hiding(
            credentials, site_file, state_folder, terms, job, self._troubles.append
        )
        guard = guard_of(name, site_file, terms, job)
        self._data = _own_data(name, terms, site_file, guard)
        self._algorithm = algorithm_for(run, terms.plan())
        self._saved = SavedRun(name, state_folder, terms, places.job_key(job))
        self._course = Course(name, self._saved, last=run.federation.rounds)
        self._budget = SiteBudget(guard, self._saved, self._data.train, terms.resume)
        self._rounds: SiteRounds | None = None  # once begun
        self._planned: dict[str, Any] = {}  # to be told with the next answer

    def answer(self, task: str, numbers: Mapping[str, Any], party: Party) -> dict[str, Any]:
        """Do one of the coordinator's tasks, and tell what came of it."""
        if task == READY:
            return self.ready(numbers.get(KNOWN_HEADS, {}).get(self.name))
        if task == DISMISS:
            return self.dismiss()
        if task not in (ROUND, MEASURE, PUBLISH):
            raise ProtocolError(f"task {task!r} is not known at a site")
        rounds = self._rounds or self.start(int(numbers["begin_at"]))
        planned, self._planned = self._planned, {}
        return planned | rounds.answer(task, numbers, party)

    def ready(self, known_head: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the coordinator may know before the first round: holdings and saved rounds.

        A private site tells no counts of training images. Its ledger must have the entry
        ``known_head``, which the server remembers, and the budget of a new run is set aside now,
        so that a site that cannot afford it is known before the others begin. A resumed run's is
        when it is known from where it goes on. Raises what a ledger and a plan raise.
        """
        told: dict[str, Any] = {"saved": self._saved.rounds()}
        self._budget.be_ready(known_head)
        if self.terms.run.privacy.dp is None and self._disclosure.tells_images:
            told["holdings"] = holdings({self.name: self._data})[self.name]
        return told | self._budget.head()

    def dismiss(self) -> dict[str, Any]:
        """The run does not begin: what was set aside for it is given back."""
        self._budget.give_back()
        return self._budget.head()

    def go_on(self) -> None:
        """Take over at once, where another process of this job was at work before.

        Then the next round need not wait until images are decoded. Raises what ``start`` does.
        """
        next_round = self._course.goes_on_with
        if next_round is not None:
            self.start(next_round)

    def close(self) -> None:
        """Let go of the ledger. A run that began and was not published keeps its plan."""
        if self._rounds is None:
            self._budget.give_back()
        self._budget.close()

    def start(self, rounds: int) -> SiteRounds:
        """Go on after ``rounds`` finished rounds, or begin afresh where they are 0.

        A site that was away in the last rounds goes on from its newest state before them. Raises
        ConfigError where it has none, and BudgetExhausted where a private site cannot afford all
        rounds from here on. The next answer has what a private site may tell of its plan.

        Where another process of this job was at work before, the site goes on from what that saved
        last, after the newest round that it had begun.
        """
        self._budget.look_again()
        begin, state = self._course.open(rounds)
        site = self._built(begin)
        if state is not None:
            site.load_state(state)
        self._course.opened(rounds)
        self._rounds = SiteRounds(
            site,
            self.terms.run,
            self._algorithm,
            self._data,
            self._course,
            self._disclosure,
            self._budget,
            self._troubles,
        )
        self._planned = self._budget.planned()
        return self._rounds

    def _built(self, begin: int) -> Site:
        """The site, and for a private run what guards it in the rounds from ``begin``."""
        protection = self._budget.set_aside(begin)
        return build_site(
            self.name,
            self._data.train,
            self.terms.run,
            self.terms.plan(),
            protection,
            secrecy=self._secrecy,
            measure=self._disclosure.accuracies_in_sums(self._data.held_out),
        )


def _refuse_terms(name: str, terms: Terms, settings: SiteConfig, safe: bool) -> None:
    """``safe``: nobody on the way can read messages. Raises PolicyRefused, ConfigError."""
    if settings.policy.require_encryption and not safe:
        raise PolicyRefused(
            f"site {name!r} requires encryption from end to end, and this job runs "
            "without; start it in a provisioned FLARE project"
        )
    check_promises(settings, terms.run, name)
    if name not in terms.sites:
        raise ConfigError(
            f"site {name!r} is not in this job, whose sites are {', '.join(terms.sites)}"
        )


def _own_data(name: str, terms: Terms, site_file: Path, guard: "SiteGuard | None") -> Splits:
    """The site's images, once nothing speaks against training on them."""
    manifest = find_manifest(site_file, terms.run.dataset)
    check_share(terms.run, name, manifest)
    if guard is not None:
        guard.check(manifest)
    mode = scan_mode_at(site_file, terms.run.dataset)
    return load_data(name, manifest, terms.run, scan_mode=mode)

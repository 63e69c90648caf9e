"""Who takes part in a job: the server asks all, waits for those who are there, and notes the rest.

A site that did not answer is asked again in the next task, and nobody waits for it until it does. A
site that refused at the start is out of the job.
"""

from collections.abc import Sequence
from typing import Any

from fedefm.errors import QuorumLost
from fedefm.train.exchange import Steps
from fedefm.train.simulate import Outcome
from fedefm.train.telling import check_quorum, unheard
from nvflare_jobs.parties.deadlines import Deadlines
from nvflare_jobs.parties.gathering import Answers, Asking, Patience
from nvflare_jobs.parties.heads import KNOWN_HEADS, KnownHeads
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.tasks import DISMISS, READY
from nvflare_jobs.parties.terms import Terms

START_S = 600.0  # how long sites may take to start and to decode their images
GRACE_S = 10.0  # fetching a task, sending its result


class RollCall:
    """The sites of one job, asked by ``ask`` while the server plays its own part as ``party``.

    ``heads`` gets what they tell of their ledgers.
    """

    def __init__(
        self, terms: Terms, deadlines: Deadlines, party: Party, ask: Asking, heads: KnownHeads
    ) -> None:
        self._terms, self._federation = terms, terms.run.federation
        self._deadlines, self._party, self._ask, self._heads = deadlines, party, ask, heads
        self._silent: dict[str, str] = {}  # who did not answer last, and why nobody waits
        self._refused: dict[str, str] = {}  # who cannot take part in this job at all

    @property
    def absent(self) -> dict[str, str]:
        """For whom nobody waits, and why."""
        return {**self._silent, **self._refused}

    def missing(self, server: Outcome[Any]) -> dict[str, str]:
        """The absent, and those whom the server missed in its own part."""
        return {**unheard(server), **self.absent}

    def gather(self) -> Answers:
        """The barrier: every site is up, has its images, and says from where it could go on.

        Raises QuorumLost where too few are, and lets those give back what they set aside.
        """
        sites, deadline_s = self._terms.sites, self._federation.deadline_s
        answers = self._ask(
            READY,
            {KNOWN_HEADS: self._heads.of(sites)},
            frozenset(sites),
            START_S,
            enough=self._terms.needed,
            patience_s=lambda answers: deadline_s,
        )
        self._note_absent(answers)
        self._heads.note(answers)
        refused = {site: str(a["refused"]) for site, a in answers.items() if "refused" in a}
        self._refused |= refused
        ready = {site: a for site, a in answers.items() if site not in self._refused}
        try:
            check_quorum("start", sites, self.absent, self._federation.quorum)
        except QuorumLost:
            self._dismiss(frozenset(ready))
            raise
        return ready

    def ask(
        self, task: str, round_index: int, steps: Steps[Any] | None, begin_at: int, most: int
    ) -> tuple[Answers, Outcome[Any]]:
        """Put a task of ``most`` exchanges to the sites, and play the server's part in it.

        The sites' answers, and what became of the server's part.
        """
        absent = self.absent
        played: list[Outcome[Any]] = []

        def server_part() -> None:
            if steps is not None:
                played.append(self._party.play(steps, round_index, absent))

        awaited = frozenset(self._terms.sites) - frozenset(absent)
        answers = self._ask(
            task,
            {"round": round_index, "begin_at": begin_at, "silent": sorted(absent)},
            awaited,
            (most + 1) * self._federation.deadline_s + GRACE_S,
            enough=self._terms.needed,
            patience_s=self._patience(awaited, played),
            meanwhile=server_part,
        )
        answers = {site: a for site, a in answers.items() if site not in self._refused}
        self._note_absent(answers)
        self._heads.note(answers)
        server = played[0] if played else Outcome()
        if server.error is not None:  # nobody can replace the server
            raise server.error
        return answers, server

    def _patience(self, awaited: frozenset[str], played: Sequence[Outcome[Any]]) -> Patience:
        def patience_s(answers: Answers) -> float:
            known = awaited - set(answers) <= _missed_by(answers, played)
            deadlines = self._deadlines.missed if known else self._deadlines.lateness
            return deadlines * self._federation.deadline_s + GRACE_S

        return patience_s

    def _note_absent(self, answers: Answers) -> None:
        waited = self._federation.deadline_s
        self._silent = {
            site: f"did not answer (deadline {waited:g} s an exchange)"
            for site in self._terms.sites
            if site not in answers and site not in self._refused
        }

    def _dismiss(self, sites: frozenset[str]) -> None:
        """Let the sites give back what they have set aside for a run that does not begin."""
        if self._terms.run.privacy.dp is not None:
            self._heads.note(self._ask(DISMISS, {}, sites, GRACE_S))


def _missed_by(answers: Answers, played: Sequence[Outcome[Any]]) -> set[str]:
    """Whom those who are done, the server among them, did not hear."""
    told = {str(site) for answer in answers.values() for site in answer.get("unheard", ())}
    return told.union(*(outcome.missing for outcome in played))

"""What a site has on its disk of one run: which run it is, and its state after each round."""

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedefm.errors import ConfigError
from fedefm.train.state import PartyState, finished_rounds, forget_after, load_state, save_state
from fedefm.versions import release
from nvflare_jobs.parties import places
from nvflare_jobs.parties.begun import BEGUN, Begun, read_begun, write_begun
from nvflare_jobs.parties.terms import Terms

FREE_TO_CHANGE: dict[str, Any] = {  # on a resume
    "toolkit": True,
    "resume": True,
    "recorded": True,
    "run": {"federation": {"quorum", "deadline_s", "evaluate_every"}},
}
TERMS_FILE = "terms.sha256"


class SavedRun:
    """The state of ``site`` in ``folder``, where nobody else writes.

    ``run_id`` is what the site's ledger calls the run: random, and the same when it is resumed, or
    when ``job`` is found to have begun here already. ``begun`` says what another process of this
    job has begun before.
    """

    def __init__(self, site: str, folder: Path, terms: Terms, job: str = "") -> None:
        self._site, self._folder, self._digest = site, folder, terms_digest(terms)
        known = places.run_id(folder) if terms.resume and self._is_of_this_run() else None
        self.begun = read_begun(folder, job)
        self.run_id = self.begun.run_id if self.begun else known or secrets.token_hex(16)
        self._now = self.begun or Begun(job, self.run_id)

    @property
    def has_begun(self) -> bool:
        """Whether another process of this job has begun rounds before this one was there."""
        return self.begun is not None and self.begun.begin_at is not None

    @property
    def known_head(self) -> Mapping[str, Any] | None:
        """The ledger's entry that the server remembered, as a process of this job was told."""
        return self._now.known_head

    def rounds(self) -> list[int]:
        """Newest first; only states of the very run that this job goes on with."""
        return finished_rounds(self._folder) if self._is_of_this_run() else []

    def begin(self) -> None:
        """Forget what was there."""
        self.note(run_id=self.run_id)
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != BEGUN:
                path.unlink()
        (self._folder / places.RUN_ID).write_text(f"{self.run_id}\n", encoding="utf-8")
        (self._folder / TERMS_FILE).write_text(self._digest, encoding="utf-8")
        self.note(begin_at=0)

    def go_on(self, rounds: int) -> None:
        """Forget the states after ``rounds``, which this job plays anew, and goes on from there."""
        forget_after(self._folder, rounds)
        self.note(begin_at=rounds)

    def note(self, **begun: Any) -> None:
        """Remember what this job begins, on the disk when this returns; see ``Begun``."""
        self._now = replace(self._now, **begun)
        write_begun(self._folder, self._now)

    def newest(self, rounds: int) -> PartyState:
        """The site's newest state after at most ``rounds``. Raises ConfigError if there is none."""
        saved = self.rounds()
        number = max((number for number in saved if number <= rounds), default=None)
        state = load_state(self._folder, number) if number is not None else None
        if state is None:
            have = ", ".join(str(number) for number in saved) or "nothing"
            raise ConfigError(
                f"site {self._site!r} cannot go on after round {rounds}: of this run it has saved "
                f"{have}; start a new run without --resume"
            )
        return state[1][self._site]

    def newest_of_this_job(self, begun: Begun) -> PartyState | None:
        """What a process of this job saved last; None where it began afresh and saved nothing."""
        if not begun.begin_at and not self.rounds():
            return None
        return self.newest(begun.next_round)

    def save(self, rounds: int, state: PartyState) -> None:
        """Keep the state after ``rounds``."""
        save_state(self._folder, rounds, {self._site: state})

    def _is_of_this_run(self) -> bool:
        path = self._folder / TERMS_FILE
        return path.is_file() and path.read_text(encoding="utf-8") == self._digest


def terms_digest(terms: Terms) -> str:
    """What two jobs must share for one to go on with the other's state."""
    data = terms.model_dump(mode="json", exclude=FREE_TO_CHANGE)
    data["release"] = release(terms.toolkit)  # a patch in the middle of a run changes nothing
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

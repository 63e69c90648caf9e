"""What a site has on its disk of one run: which run it is, and its state after each round."""

import hashlib
import json
import secrets
import shutil
from pathlib import Path
from typing import Any

from fedefm.errors import ConfigError
from fedefm.train.state import PartyState, finished_rounds, load_state, save_state
from fedefm.versions import release
from nvflare_jobs.parties import places
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

    ``run_id`` is what the site's ledger calls the run: random, and the same when it is resumed.
    """

    def __init__(self, site: str, folder: Path, terms: Terms) -> None:
        self._site, self._folder, self._digest = site, folder, terms_digest(terms)
        known = places.run_id(folder) if terms.resume and self._is_of_this_run() else None
        self.run_id = known or secrets.token_hex(16)

    def rounds(self) -> list[int]:
        """Newest first; only states of the very run that this job goes on with."""
        return finished_rounds(self._folder) if self._is_of_this_run() else []

    def begin(self) -> None:
        """Forget what was there."""
        if self._folder.exists():
            shutil.rmtree(self._folder)
        self._folder.mkdir(parents=True)
        (self._folder / places.RUN_ID).write_text(f"{self.run_id}\n", encoding="utf-8")
        (self._folder / TERMS_FILE).write_text(self._digest, encoding="utf-8")

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

"""Which jobs run at this site, written where they outlive the site's own processes.

FLARE keeps this in memory alone. A site that was killed would not know what it was doing, and the
server's job process, which knows a site by the registration under which the job began, would not
know the site.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

NOTE = "fedefm_running.json"  # in the job's folder of the kit
SECRET = 0o600  # whoever reads it can speak to FLARE as this site, as with the key of the kit

Credentials = dict[str, str]


class RunningJob:
    """One job of a site, by its folder in the kit."""

    def __init__(self, folder: Path) -> None:
        self.job = folder.name
        self._note = folder / NOTE

    def known_as(self, now: Mapping[str, str]) -> Credentials:
        """Under what registration the job began here; ``now`` where it begins."""
        try:
            return {str(k): str(v) for k, v in json.loads(self._note.read_text("utf-8")).items()}
        except (OSError, ValueError, AttributeError):
            self._write(dict(now))
            return dict(now)

    def is_over(self) -> None:
        """It is not to go on when the site starts again."""
        self._note.unlink(missing_ok=True)

    def _write(self, credentials: Credentials) -> None:
        unfinished = self._note.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET)
        with os.fdopen(handle, "w", encoding="utf-8") as note:
            json.dump(credentials, note)
            note.flush()
            os.fsync(note.fileno())
        unfinished.replace(self._note)


def running_jobs(kit: Path) -> list[RunningJob]:
    """Those that ran when the site's processes ended."""
    return [RunningJob(note.parent) for note in sorted(kit.glob(f"*/{NOTE}"))]

"""Where a party's own files are. A job has no say in it.

In a simulation the person at the machine names the folders in the environment, which FLARE's
client processes inherit. In a project they stand in the kit, and the environment is not set.
"""

import os
from pathlib import Path

from fedefm.config import SERVER_FILE, SITE_FILE
from fedefm.errors import ConfigError

SITES_DIR, STATE_DIR = "FEDEFM_SITES_DIR", "FEDEFM_STATE_DIR"
IDENTITIES_DIR = "FEDEFM_IDENTITIES_DIR"
SIMULATION = "FEDEFM_SIMULATION"  # which one: FLARE gives the jobs of all of them one id
RUN_FOLDER = "fedefm_run"  # in the server's folder of the job; part of what is downloaded
STATUS_FILE = "status.json"  # in the run folder: what became of the job
LOCAL = "local"  # in the kit, with the site's own files
STARTUP = "startup"  # in the kit, with its certificate and key
KIT_STATE = "fedefm_state"  # in the kit, beside startup/ and local/
SUMS_MEMORY = ".secure_sums.sqlite"  # no run's name begins with a dot
RUN_ID = "run_id"  # in a site's state folder: what its ledger knows the run by


def simulated() -> bool:
    """Whether all sites are folders of this machine."""
    return SITES_DIR in os.environ


def site_file(site: str, local: Path) -> Path:
    """The file that says what a dataset name means at ``site``; ``local`` is the kit's folder.

    Raises ConfigError where there is none.
    """
    path = Path(os.environ[SITES_DIR]) / site / SITE_FILE if simulated() else local / SITE_FILE
    if not path.is_file():
        raise ConfigError(
            f"site {site!r} has no {SITE_FILE}; its owner writes it into the kit's local/ folder"
        )
    return path


def server_file(local: Path) -> Path:
    """Where the server's own file is, if it has one; ``local`` is the folder of its kit."""
    return Path(os.environ[SITES_DIR]) / SERVER_FILE if simulated() else local / SERVER_FILE


def state_folder(party: str, run_name: str, kit: Path) -> Path:
    """Where ``party`` keeps its state of the run called ``run_name``."""
    if STATE_DIR in os.environ:
        return Path(os.environ[STATE_DIR]) / party / run_name
    return kit / KIT_STATE / run_name


def identity_folder(party: str) -> Path | None:
    """Where a simulation has put what ``party`` signs with; None where it made nothing."""
    return Path(os.environ[IDENTITIES_DIR]) / party if IDENTITIES_DIR in os.environ else None


def job_key(job: str) -> str:
    """``job``, as no other job is called at a party, in this simulation or another one."""
    return f"{job} {os.environ[SIMULATION]}" if SIMULATION in os.environ else job


def run_id(state: Path) -> str | None:
    """What the site's ledger calls the run whose state is in ``state``; None before it began."""
    try:
        return (state / RUN_ID).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None

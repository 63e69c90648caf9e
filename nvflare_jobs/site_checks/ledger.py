"""The epsilon ledger and its witness, without opening either for writing."""

import os
from pathlib import Path

from fedefm.config import SiteConfig
from fedefm.errors import FedEFMError
from fedefm.words import several
from privacy.ledger import keys, verify
from privacy.ledger.heads import default_witness
from privacy.ledger.reading import read_rows
from provisioning.finding import Finding, ok, problem, warning


def check_ledger(site: str, site_file: Path, settings: SiteConfig) -> list[Finding]:
    """One finding on the ledger of ``site``, and one on its witness."""
    if settings.ledger is None:
        none = warning(
            "ledger",
            "the site file names none, so every private run is refused here",
            "add a line such as `ledger: /var/lib/fedefm/ledger.sqlite`",
        )
        return [none]
    path = site_file.parent / settings.ledger
    own = settings.ledger_witness
    witness = site_file.parent / own if own else default_witness(path)
    return [_ledger(site, path, witness), _witness(path, witness, own is not None)]


def _ledger(site: str, path: Path, witness: Path) -> Finding:
    unwritable = _unwritable("ledger", path) or _unwritable("ledger witness", witness)
    if unwritable:
        return unwritable
    if not _begun(path, witness):
        return ok("ledger", f"{path} will be made by the first private run")
    doubts = verify(path, site, witness)
    if doubts:
        said = f"{len(doubts)} doubts, the first: {doubts[0]}" if len(doubts) > 1 else doubts[0]
        return problem("ledger", said, "stop private runs and let the privacy officer look")
    try:
        count = len(read_rows(path))
    except FedEFMError as error:
        return problem("ledger", str(error))
    return ok("ledger", f"{path} verifies: {several(count, 'entry', 'entries')}")


def _begun(path: Path, witness: Path) -> bool:
    """Whether there is, or once was, a ledger."""
    return any(each.exists() for each in (path, witness, keys.key_path(path)))


def _unwritable(what: str, path: Path) -> Finding | None:
    folder = path.parent
    if path.is_dir():
        return problem("ledger", f"{what} {path} is a folder", "name a file in the site file")
    if not folder.is_dir():
        return problem(
            "ledger",
            f"{what} {path}: folder {folder} does not exist",
            "make it, for the account that runs FLARE, on a local disk that is backed up",
        )
    for place in (path, folder):
        if place.exists() and not os.access(place, os.W_OK):
            return problem(
                "ledger",
                f"{what} {path} cannot be written by this account",
                f"give the account that runs FLARE the right to write {place}",
            )
    return None


def _witness(path: Path, witness: Path, named: bool) -> Finding:
    if not (path.parent.is_dir() and witness.parent.is_dir()):
        return warning("witness", f"{witness} has no place yet", "make its folder")
    if path.parent.stat().st_dev == witness.parent.stat().st_dev:
        where = f"{witness} is on the same disk as the ledger"
        return warning(
            "witness",
            f"{where}, so that a disk put back from a backup would not be noticed",
            "move it to another disk" if named else "name a file on another disk: `ledger_witness`",
        )
    return ok("witness", f"{witness} is on another disk than the ledger")

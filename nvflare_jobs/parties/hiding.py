"""What hides one party of a job: its secure sum, by its kit's certificate and its own memory."""

from collections.abc import Callable
from pathlib import Path

from fedefm.config import read_site
from fedefm.errors import ProvisionError
from fedefm.train.secrecy import Secrecy
from nvflare_jobs.parties import places
from nvflare_jobs.parties.identities import Credentials
from nvflare_jobs.parties.terms import Terms


def hiding(
    credentials: Credentials | None,
    site_file: Path | None,
    state_folder: Path,
    terms: Terms,
    job: str,
    tell: Callable[[str], None],
) -> Secrecy | None:
    """The secrecy of a site, or of the server where ``site_file`` is None; None in plain runs.

    ``tell`` hears of each trouble in a sum. Raises ProvisionError for a party without certificate,
    PolicyRefused or ConfigError where the planned sums would not hide who gives to them.
    """
    run = terms.run
    if run.privacy.secagg is None:
        return None
    from nvflare_jobs.secure import hidden, refuse_unhidden  # the privacy packages load slowly
    from privacy.secagg.memory import Memory

    if credentials is None:
        raise ProvisionError(
            "privacy.secagg is set and this party has no certificate to sign its keys with"
        )
    identity, root = credentials.identity, credentials.root
    files = {} if site_file is None else {identity.name: site_file}
    refuse_unhidden(files, run, terms.plan())
    memory = Memory(memory_file(site_file, state_folder))
    return hidden(identity, root, memory, site_file, run, run.name, job, tell)


def memory_file(site_file: Path | None, state_folder: Path) -> Path:
    """Where a party remembers its sums over all jobs: beside its ledger, else beside its runs."""
    ledger = None if site_file is None else read_site(site_file).ledger
    if site_file is not None and ledger is not None:
        return (site_file.parent / ledger).with_name(places.SUMS_MEMORY)
    return state_folder.parent / places.SUMS_MEMORY

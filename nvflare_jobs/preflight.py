"""Whether a kit can take part in a run on this machine: everything that can be known before.

Nothing is started and nothing is changed. What needs data, ledger or torch is in ``site_checks``;
the way to the server is in ``provisioning.reach``.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from fedefm.config import SITE_FILE, SiteConfig, read_site
from fedefm.errors import FedEFMError, ProvisionError
from nvflare_jobs.parties import places
from nvflare_jobs.site_checks.certificate import check_certificate, check_clock
from nvflare_jobs.site_checks.datasets import check_datasets
from nvflare_jobs.site_checks.ledger import check_ledger
from nvflare_jobs.site_checks.machine import check_disk, check_gpu, check_memory
from nvflare_jobs.site_checks.policy import check_policy
from provisioning.address import Address, read_address
from provisioning.checking.flare import check_settings
from provisioning.checking.identity import check_stamp
from provisioning.checking.kit import check_files, open_kit
from provisioning.checking.once import once
from provisioning.finding import Finding, ok, problem, warning
from provisioning.reach import port_of_server, reach_server

BY_SITE_FILE = ("datasets", "ledger", "policy", "memory", "gpu")  # what it says, or how much
MEND_FIRST = f"mend local/{SITE_FILE} and look again"


def preflight(kit: Path) -> list[Finding]:
    """What was found, in the order in which it is best mended.

    Raises ProvisionError where ``kit`` is no kit of a site or of a server.
    """
    address = read_address(kit.absolute())
    return list(_of_site(address) if address.role == "site" else _of_server(address))


def _of_site(address: Address) -> Iterator[Finding]:
    yield from _kit(address.kit)
    yield from _certificate(address)
    yield from reach_server(address)
    site_file = address.kit / "local" / SITE_FILE
    try:
        settings = read_site(site_file)
    except FedEFMError as error:
        yield problem("site file", str(error), f"the hospital writes it: local/{SITE_FILE}")
        for check in BY_SITE_FILE:
            yield warning(check, "not looked at, since the site file cannot be read", MEND_FIRST)
        yield from check_disk(_folders(address, None))
        return
    yield ok("site file", f"{site_file} can be read")
    datasets = check_datasets(site_file, settings)
    yield from datasets.findings
    yield from check_ledger(address.name, site_file, settings)
    yield from check_policy(settings, datasets.units)
    yield from check_disk(_folders(address, settings))
    yield check_memory("site", datasets.images)
    yield check_gpu(settings.device)


def _of_server(address: Address) -> Iterator[Finding]:
    yield from _kit(address.kit)
    yield from _certificate(address)
    yield port_of_server(address)
    yield from check_disk({"jobs and what they leave": address.kit})
    yield check_memory("server", 0)


def _kit(folder: Path) -> Iterator[Finding]:
    """Versions, and what `fedefm provision check` has against files, gate, classes and rights."""
    kit = open_kit(folder)
    yield from check_stamp(kit)
    found = once(kit, [*check_files(kit), *check_settings(kit)])
    faults = [finding for finding in found if finding.verdict != "ok"]
    in_order = "files, permissions, classes and rights are in order"
    yield from faults or [ok("kit", f"{in_order}; `fedefm provision check` shows each")]


def _certificate(address: Address) -> Iterator[Finding]:
    yield check_certificate(address)
    try:
        yield check_clock(address)
    except ProvisionError as error:
        yield problem("clock", f"nothing to compare it with: {error}")


def _folders(address: Address, settings: SiteConfig | None) -> dict[str, Path]:
    """Where a run writes."""
    found = {
        "jobs": address.kit,
        "saved rounds": address.kit / places.KIT_STATE,
        "temporary files": Path(tempfile.gettempdir()),
    }
    if settings is not None and settings.ledger is not None:
        found["the ledger"] = (address.kit / "local" / settings.ledger).parent
    return found

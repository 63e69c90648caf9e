"""All checks of a kit, in the order in which findings are best mended."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedefm.errors import ProvisionError
from provisioning.checking.flare import check_settings
from provisioning.checking.identity import check_identity, check_stamp
from provisioning.checking.kit import AS_HANDED_OUT, Kit, check_files, open_kit
from provisioning.checking.once import once
from provisioning.checking.site_file import check_site_file
from provisioning.finding import Finding, problem
from provisioning.rights import told_rights


@dataclass(frozen=True)
class Checked:
    """What was found, and who may do what here: role by right, in words; none of a person's kit."""

    kit: Kit
    findings: list[Finding]
    rights: dict[str, dict[str, str]]


def check_kit(folder: Path) -> Checked:
    """Look at all of a kit; nothing is changed. Raises ProvisionError where it is none."""
    kit = open_kit(folder)
    return Checked(kit, once(kit, _findings(kit)), _rights(kit))


def _findings(kit: Kit) -> Iterator[Finding]:
    yield from check_files(kit)
    try:
        yield from check_identity(kit)
    except ProvisionError as error:
        yield problem("certificate", str(error), AS_HANDED_OUT)
    yield from check_stamp(kit)
    if kit.role != "person":
        yield from check_settings(kit)
    if kit.role == "site":
        yield from check_site_file(kit)


def _rights(kit: Kit) -> dict[str, dict[str, str]]:
    if kit.role == "person":
        return {}
    try:
        permissions = kit.read("authorization.json").get("permissions")
        return told_rights(permissions) if isinstance(permissions, dict) else {}
    except ProvisionError:  # told among the findings
        return {}

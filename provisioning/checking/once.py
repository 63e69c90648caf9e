"""Each broken file told once, by whichever check came to it first."""

from collections.abc import Iterable

from provisioning.checking.kit import Kit
from provisioning.finding import Finding


def once(kit: Kit, found: Iterable[Finding]) -> list[Finding]:
    """Without what says again that a file is missing, empty or unreadable."""
    kept: list[Finding] = []
    for finding in found:
        if finding.verdict == "ok" or not any(_again(kit, finding, former) for former in kept):
            kept.append(finding)
    return kept


def _again(kit: Kit, finding: Finding, former: Finding) -> bool:
    if former.verdict == "ok":
        return False
    return finding.said == former.said or (
        former.check == "files" and any(path in finding.said for path in _told(kit, former))
    )


def _told(kit: Kit, finding: Finding) -> list[str]:
    """The files that were found missing or empty, as other findings write them."""
    names, _, state = finding.said.rpartition(" ")
    return (
        [str(kit.folder / name) for name in names.split(", ")]
        if state in ("missing", "empty")
        else []
    )

"""Whether a hospital has edited its site file, and where it allows more than a new kit does."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from fedefm.config import PolicyConfig, SiteConfig, parse, read_site
from fedefm.errors import ConfigError
from fedefm.words import several
from provisioning.checking.kit import Kit
from provisioning.finding import Finding, ok, problem, warning
from provisioning.kit_files import SITE_FILE
from provisioning.site_text import site_text


def check_site_file(kit: Kit) -> Iterator[Finding]:
    """One line on whether it can be used, one on what it allows."""
    path = kit.local / SITE_FILE
    try:
        settings = read_site(path)
    except ConfigError as error:
        yield problem("site file", str(error), "mend it")
        return
    if not settings.datasets:
        fix = f"fill in the lines with EDIT in {path}"
        yield problem("site file", "it names no dataset, so that every job is refused", fix)
    else:
        yield ok("site file", f"gives {', '.join(sorted(settings.datasets))}")
    if settings.ledger is not None and kit.folder.absolute() in _absolute(kit, settings).parents:
        fix = "move it out of the kit, which an update replaces"
        yield warning("ledger", "it lies inside the kit", fix)
    yield _of_peers(settings)
    yield from _of_policy(settings.policy)


def _of_peers(settings: SiteConfig) -> Finding:
    if settings.peers:
        return ok("peers", f"others' certificates that are pinned: {len(settings.peers)}")
    fix = "write down under `peers` what the others tell you by telephone"
    return warning("peers", "any certificate passes that the owner of the root has signed", fix)


def _absolute(kit: Kit, settings: SiteConfig) -> Path:
    return (kit.local.absolute() / (settings.ledger or "")).resolve()


def _of_policy(policy: PolicyConfig) -> Iterator[Finding]:
    usual = parse(yaml.safe_load(site_text("site")), SiteConfig, "the kit's own site file").policy
    looser = list(_looser(policy, usual))
    if not policy.require_encryption:
        fix = "set policy.require_encryption: true"
        yield problem("policy", "the hub could read what this site sends", fix)
    if looser:
        fix = "leave it only if the privacy officer has agreed"
        yield warning("policy", f"allows more than a new kit: {', '.join(looser)}", fix)
    else:
        yield ok("policy", "as strict as in a new kit, or stricter")


def _looser(policy: PolicyConfig, usual: PolicyConfig) -> Iterator[str]:
    if not policy.require_dp:
        yield "training without differential privacy"
    if policy.epsilon_cap is None or policy.epsilon_cap > (usual.epsilon_cap or 0):
        yield f"epsilon {'without a cap' if policy.epsilon_cap is None else policy.epsilon_cap}"
    if policy.delta > usual.delta:
        yield f"delta {policy.delta:g}"
    if policy.min_cohort < usual.min_cohort:
        yield f"sums with {several(policy.min_cohort, 'other')}"
    if policy.colluders < usual.colluders:
        yield several(policy.colluders, "colluding site")
    if policy.noise_shares:
        yield "noise that others add"
    if more := sorted(set(policy.allowed_metrics) - set(usual.allowed_metrics)):
        yield f"the metrics {', '.join(more)}"

"""Whose certificate is in a kit, until when it holds, and whether the project's root signed it."""

from collections.abc import Iterator
from datetime import datetime, timezone

from fedefm.errors import ProvisionError
from fedefm.words import several
from provisioning.certificates import Certificate, key_fits, read_certificate
from provisioning.checking.kit import Kit
from provisioning.expiry import WARN_DAYS
from provisioning.finding import Finding, ok, problem, warning
from provisioning.made_for import read_stamp, refuse_other_versions
from provisioning.rights import ORG_ADMIN, ROLES

ROTATE = "the hub makes a new one with `fedefm provision rotate PROJECT.yml {name}`"


def check_identity(kit: Kit) -> Iterator[Finding]:
    """Certificate, key and root. Raises ProvisionError where one cannot be read."""
    certificate = read_certificate(kit.startup / f"{kit.stem}.crt")
    root = read_certificate(kit.startup / "rootCA.pem")
    name = certificate.name
    fits = key_fits(certificate, kit.startup / f"{kit.stem}.key")
    if not certificate.signed_by(root):
        yield problem(
            "certificate", f"{name}'s was not signed by rootCA.pem", ROTATE.format(name=name)
        )
    elif not fits:
        yield problem("certificate", f"{kit.stem}.key is not {name}'s", "take both from one kit")
    else:
        yield ok("certificate", f"{name}, signed by {root.name!r}, with its key")
    yield from _of_name(kit, certificate)
    for what, each in ((f"{name}'s", certificate), ("the root's", root)):
        yield _of_dates(what, each)


def check_stamp(kit: Kit) -> Iterator[Finding]:
    """For which releases the kit was made."""
    try:
        refuse_other_versions(kit.folder)
        stamp = read_stamp(kit.folder)
    except ProvisionError as error:
        yield problem("versions", str(error))
        return
    yield ok("versions", f"made for fedefm {stamp.toolkit} and nvflare {stamp.nvflare}")


def _of_name(kit: Kit, certificate: Certificate) -> Iterator[Finding]:
    if kit.role == "site":
        settings = kit.read_startup()
        told = str(settings["client"].get("fqsn", certificate.name)).split(".")[-1]
        if told != certificate.name:
            fix = "take startup/ of one kit"
            yield problem("name", f"fed_client.json says {told!r}, not {certificate.name!r}", fix)
        if settings["client"].get("connection_security") != "mtls":
            fix = 'set "connection_security": "mtls" in startup/fed_client.json'
            yield problem("connection", "the site does not show its certificate to the server", fix)
    if kit.role == "person":
        role = certificate.role
        if role in ROLES or role == ORG_ADMIN:
            yield ok("role", f"{role}: {ROLES.get(role, 'looks after an organization')}")
        else:
            fix = f"the hub must not sign such; roles are {', '.join(ROLES)}"
            yield problem(
                "role", f"{role!r} is no role of ours, and FLARE asks nothing of some", fix
            )


def _of_dates(whose: str, certificate: Certificate) -> Finding:
    now = datetime.now(timezone.utc)
    left, ends = certificate.days_left(now), f"{certificate.ends:%Y-%m-%d}"
    fix = ROTATE.format(name=certificate.name)
    if certificate.is_root:
        fix = "a new project with new kits for all must be ready before"
    if now < certificate.begins:
        return problem(
            "dates", f"{whose} begins {certificate.begins:%Y-%m-%d %H:%M} UTC", "set the clock"
        )
    if left < 0:
        return problem("dates", f"{whose} ended on {ends}", fix)
    if left < WARN_DAYS:
        return warning("dates", f"{whose} ends on {ends}, in {several(left, 'day')}", fix)
    return ok("dates", f"{whose} ends on {ends}, in {several(left, 'day')}")

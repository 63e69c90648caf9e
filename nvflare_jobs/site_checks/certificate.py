"""The kit's certificate, as FLARE and the secure sums will use it, and this machine's clock."""

from datetime import datetime, timezone

from fedefm.errors import FedEFMError
from fedefm.train.header import SERVER
from fedefm.words import several
from nvflare_jobs.parties.identities import Credentials, credentials_of, own_credentials
from provisioning.address import Address
from provisioning.certificates import read_certificate
from provisioning.expiry import WARN_DAYS
from provisioning.finding import Finding, ok, problem, warning

SIGNED = b"preflight\n"  # what is signed here is good for nothing else


def check_certificate(address: Address, now: datetime | None = None) -> Finding:
    """Whose it is, whether the project's root issued it, its key fits, and until when it holds."""
    now = now or datetime.now(timezone.utc)
    try:
        found = _credentials(address)
        identity = found.identity
        found.root.verify(identity.name, identity.certificate, identity.sign(SIGNED), SIGNED)
        ends = read_certificate(address.certificate).ends
    except FedEFMError as error:
        return problem("certificate", str(error))
    days = (ends - now).days
    said = (
        f"of {address.name!r}, issued by the project's root, key fits; valid until {ends:%Y-%m-%d}"
    )
    if days < WARN_DAYS:
        return warning(
            "certificate",
            f"{said}, in {several(days, 'day')}",
            f"the hub makes a new one with `fedefm provision rotate PROJECT.yml {address.name}`",
        )
    return ok("certificate", said)


def _credentials(address: Address) -> Credentials:
    """Those of the kit; pins are of others, and the site file with them is looked at by itself."""
    if address.role == "site":
        return own_credentials(address.name, address.kit)
    found = credentials_of(SERVER, (), address.kit, needed=True)
    assert found is not None  # only a simulation may do without
    return found


def check_clock(address: Address, now: datetime | None = None) -> Finding:
    """Whether this machine's date can be right.

    The server tells its time to nobody who asks without an account, so a clock that is minutes or
    hours off is not found; no promise of ours depends on minutes.
    """
    now = now or datetime.now(timezone.utc)
    began = max(read_certificate(path).begins for path in (address.certificate, address.root))
    if now < began:
        return problem(
            "clock",
            f"it is {now:%Y-%m-%d %H:%M} UTC here, before this kit was made ({began:%Y-%m-%d})",
            "set this machine's clock, best by a time server (NTP)",
        )
    return ok(
        "clock",
        f"{now:%Y-%m-%d %H:%M} UTC, later than the kit was made; compared with the certificates "
        "only, for the server does not tell its time",
    )

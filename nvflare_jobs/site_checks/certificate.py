"""The kit's certificate, as FLARE and the secure sums will use it, and this machine's clock."""

import stat
from datetime import datetime, timezone

from fedefm.errors import FedEFMError
from nvflare_jobs.parties.identities import credentials_of
from provisioning.address import Address
from provisioning.certificates import read_certificate
from provisioning.finding import Finding, ok, problem, warning

SOON_DAYS = 60
SIGNED = b"preflight\n"  # what is signed here is good for nothing else
PARTY = {"site": None, "server": "server"}  # the server's name among the parties of a job


def check_certificate(address: Address, now: datetime | None = None) -> list[Finding]:
    """Whose it is, whether the project's root issued it, until when it holds, who reads its key."""
    now = now or datetime.now(timezone.utc)
    party = PARTY[address.role] or address.name
    try:
        found = credentials_of(party, (), address.kit, needed=True)
        assert found is not None  # only a simulation may do without
        identity = found.identity
        found.root.verify(party, identity.certificate, identity.sign(SIGNED), SIGNED)
        ends = read_certificate(address.certificate).ends
    except FedEFMError as error:
        return [problem("certificate", str(error)), *_key(address)]
    days = (ends - now).days
    said = (
        f"of {address.name!r}, issued by the project's root, key fits; valid until {ends:%Y-%m-%d}"
    )
    if days < SOON_DAYS:
        soon = warning(
            "certificate",
            f"{said}, in {days} days",
            "ask the project's lead for a new one (`fedefm provision rotate`)",
        )
        return [soon, *_key(address)]
    return [ok("certificate", said), *_key(address)]


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


def _key(address: Address) -> list[Finding]:
    """The private key is the credential: there is no password beside it."""
    if not address.key.is_file():
        return []
    mode = stat.S_IMODE(address.key.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return [
            problem(
                "private key",
                f"{address.key} can be read by other accounts (mode {mode:04o})",
                f"chmod 600 {address.key}",
            )
        ]
    return []

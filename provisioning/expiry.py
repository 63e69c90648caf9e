"""When the certificates of a project end: of its workspace, of kits, of a root's own folder."""

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from fedefm.errors import ProvisionError
from provisioning.certificates import Certificate, parse_certificate, read_certificate
from provisioning.making import CA, ROOT_KEY
from provisioning.project import HUB

WARN_DAYS = 60
AS_SITE = {"client": "site"}  # what `nvflare cert` writes into a site's certificate as its role
ENDED, ENDING, FINE = "ended", "ends soon", "ok"


@dataclass(frozen=True)
class Term:
    """One certificate's; ``whose`` is a name, ``kind`` root, server, site, or a person's role."""

    whose: str
    kind: str
    ends: datetime
    days_left: int
    state: str


def terms(places: Sequence[Path], now: datetime | None = None) -> list[Term]:
    """Those of all ``places``, the first to end first. Raises ProvisionError where one has none."""
    moment = now or datetime.now(timezone.utc)
    found: dict[str, Term] = {}
    for place in places:
        certificates = list(_certificates(place))
        if not certificates:
            raise ProvisionError(
                f"{place} holds no certificates; name a kit, a project's folder, or what "
                "`nvflare provision -w` was given"
            )
        for kind, certificate in certificates:
            found[certificate.fingerprint] = _term(kind, certificate, moment)
    return sorted(found.values(), key=lambda term: (term.ends, term.kind != "root", term.whose))


def _term(kind: str, certificate: Certificate, now: datetime) -> Term:
    left = certificate.days_left(now)
    state = ENDED if left < 0 else (ENDING if left < WARN_DAYS else FINE)
    role = AS_SITE.get(certificate.role, certificate.role)
    kind = "root" if certificate.is_root else role or kind
    return Term(certificate.name, kind, certificate.ends, left, state)


def _certificates(place: Path) -> Iterator[tuple[str, Certificate]]:
    states = [place / ROOT_KEY, *place.glob(f"*/{ROOT_KEY}"), *place.glob(f"*/*/{ROOT_KEY}")]
    for state in (state for state in states if state.is_file()):
        yield from _of_state(state)
    for folder in (place, place / "startup", *place.glob("*/startup")):
        for path in (*folder.glob("*.crt"), *folder.glob("rootCA.pem")):
            yield "server" if path.name == "server.crt" else "site", read_certificate(path)
    yield from _of_signing_hub(place)


def _of_signing_hub(place: Path) -> Iterator[tuple[str, Certificate]]:
    """The root that only signs, and what it signed as it was sent back to the participants."""
    for path in place.glob(f"{CA}/rootCA.pem"):
        yield "root", read_certificate(path)
    for path in sorted(place.glob("*.signed.zip")):
        try:
            with zipfile.ZipFile(path) as sent:
                for name in sent.namelist():
                    if name.endswith(".crt"):
                        certificate = parse_certificate(sent.read(name))
                        yield _kind(certificate), certificate
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ProvisionError(
                f"{path} is not what `nvflare cert approve` writes: {error}"
            ) from None


def _of_state(state: Path) -> Iterator[tuple[str, Certificate]]:
    """The root and all that it signed, as FLARE remembers them."""
    try:
        data = json.loads(state.read_text(encoding="utf-8"))
        yield "root", parse_certificate(data["root_cert"].encode())
        for entry in data.values():
            if isinstance(entry, dict):
                certificate = parse_certificate(entry["cert"].encode())
                yield _kind(certificate), certificate
    except (ValueError, KeyError, AttributeError) as error:
        raise ProvisionError(f"{state} is not what FLARE writes: {error}") from None


def _kind(certificate: Certificate) -> str:
    """FLARE marks servers in no other way than by their organization, which ours call the hub."""
    return "server" if certificate.organization == HUB else "site"

"""The certificates of a project: whose they are, until when they hold, who signed them."""

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from fedefm.errors import ProvisionError


@dataclass(frozen=True)
class Certificate:
    """One certificate; ``role`` is a person's, empty for sites and server."""

    name: str
    organization: str
    role: str
    begins: datetime
    ends: datetime
    is_root: bool
    fingerprint: str  # as `peers` in site files have it
    x509: x509.Certificate

    def days_left(self, now: datetime | None = None) -> int:
        """Whole days until it ends; negative once it has ended."""
        return (self.ends - (now or datetime.now(timezone.utc))).days

    def signed_by(self, root: "Certificate") -> bool:
        """Whether ``root`` issued it."""
        try:
            self.x509.verify_directly_issued_by(root.x509)
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True


def read_certificate(path: Path) -> Certificate:
    """The first certificate in a PEM file. Raises ProvisionError, naming the file."""
    try:
        return parse_certificate(path.read_bytes())
    except OSError as error:
        raise ProvisionError(f"certificate {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ProvisionError(f"{path} is no certificate: {error}") from None


def parse_certificate(pem: bytes) -> Certificate:
    """Raises ValueError where ``pem`` holds none."""
    found = x509.load_pem_x509_certificate(pem)
    return Certificate(
        _said(found, NameOID.COMMON_NAME),
        _said(found, NameOID.ORGANIZATION_NAME),
        _said(found, NameOID.UNSTRUCTURED_NAME),
        _utc(found, "not_valid_before"),
        _utc(found, "not_valid_after"),
        found.subject == found.issuer,
        f"sha256:{found.fingerprint(SHA256()).hex()}",
        found,
    )


def made_on(certificate: Path) -> str:
    """The day on which a kit's certificate was made, in ISO form."""
    return read_certificate(certificate).begins.date().isoformat()


def key_fits(certificate: Certificate, key: Path) -> bool:
    """Whether the private key in ``key`` is that of the certificate. Raises ProvisionError."""
    try:
        public = load_pem_private_key(key.read_bytes(), password=None).public_key()
    except (OSError, ValueError, TypeError) as error:
        raise ProvisionError(f"private key {key} cannot be read: {error}") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public.public_bytes(*form) == certificate.x509.public_key().public_bytes(*form)


def _said(found: x509.Certificate, what: x509.ObjectIdentifier) -> str:
    said = found.subject.get_attributes_for_oid(what)
    return str(said[0].value) if said else ""


def _utc(found: x509.Certificate, which: str) -> datetime:
    moment: datetime = getattr(found, f"{which}_utc")
    return moment

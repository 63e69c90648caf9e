"""The root certificate of a project, and what a site's certificate must be to count.

Only certificates that the root issued itself are accepted: no others in between, so that no
site's key can issue a certificate in another's name.
"""

from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from fedefm.errors import MessageRejected, ProvisionError
from privacy.signatures import PublicKey, is_signed, public_key

LONGEST_CERTIFICATE = 2**14  # bytes; one of a kit has some 1300
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
)


class ProjectRoot:
    """The root certificate of a project, as the site's own kit has it."""

    def __init__(self, certificate: bytes) -> None:
        """From PEM. Raises ProvisionError where it is no certificate that may issue others."""
        try:
            self._root = x509.load_pem_x509_certificate(certificate)
            may_issue = _may_issue(self._root)
        except UNREADABLE as error:
            raise ProvisionError(
                f"the root certificate cannot be read: {error}; take rootCA.pem of the kit"
            ) from None
        if not may_issue:
            raise ProvisionError(
                f"the certificate of {common_name(self._root)!r} is no root certificate: it may "
                "not issue others; take rootCA.pem of the kit"
            )
        self.certificate = certificate
        self._known: dict[str, tuple[bytes, x509.Certificate, PublicKey]] = {}  # newest by name

    @classmethod
    def load(cls, path: Path) -> "ProjectRoot":
        """From ``rootCA.pem`` of a kit. Raises ProvisionError, naming the file."""
        pem = read_kit_file(path)
        try:
            return cls(pem)
        except ProvisionError as error:
            raise ProvisionError(f"{path}: {error}") from None

    def verify(self, name: str, certificate: bytes, signature: bytes, data: bytes) -> None:
        """Raises MessageRejected, naming the site, unless ``name`` itself signed ``data``.

        That is: this very root issued ``certificate`` (PEM) to ``name``, both are valid now, and
        ``signature`` over ``data`` fits its key.
        """
        if name not in self._known or self._known[name][0] != certificate:
            self._known[name] = (certificate, *self._issued(name, certificate))
        _, issued, key = self._known[name]
        now = datetime.now(timezone.utc)
        _require_valid(name, "project's root certificate", self._root, now)
        _require_valid(name, "site's certificate", issued, now)
        if not is_signed(key, signature, data):
            raise rejected(
                name,
                "its signature does not fit: what it signed was altered on the way or belongs "
                "elsewhere, or somebody else signed. Run again; if it stays so, ask the site",
            )

    def _issued(self, name: str, pem: bytes) -> tuple[x509.Certificate, PublicKey]:
        certificate = _parsed(name, pem)
        try:
            certificate.verify_directly_issued_by(self._root)
        except (InvalidSignature, *UNREADABLE):
            raise rejected(
                name,
                "its certificate was not issued by this project's root itself; provision the site "
                "again with this project",
            ) from None
        try:
            _require_site(name, certificate)
            return certificate, public_key(certificate.public_key())
        except (*UNREADABLE, ProvisionError) as error:
            raise rejected(
                name, f"its certificate cannot be used: {error}; provision the site again"
            ) from None


def common_name(certificate: x509.Certificate) -> str | None:
    """The one common name of the subject; None where it has none, or several."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else None


def read_kit_file(path: Path) -> bytes:
    """The content of one file of a kit. Raises ProvisionError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProvisionError(
            f"{path} cannot be read: {error.strerror}; it belongs to the site's kit"
        ) from None


def rejected(name: str, reason: str) -> MessageRejected:
    """The refusal of what ``name`` sent."""
    return MessageRejected(f"{name}: {reason}")


def _parsed(name: str, pem: bytes) -> x509.Certificate:
    if len(pem) > LONGEST_CERTIFICATE:
        raise rejected(name, f"its certificate is longer than {LONGEST_CERTIFICATE} bytes")
    try:
        return x509.load_pem_x509_certificate(pem)
    except UNREADABLE:
        raise rejected(
            name, "what it sent as certificate is none; provision the site again"
        ) from None


def _require_site(name: str, certificate: x509.Certificate) -> None:
    if common_name(certificate) != name:
        raise rejected(
            name,
            f"its certificate is of {common_name(certificate)!r}; start the site with its own kit",
        )
    if _may_issue(certificate):
        raise rejected(name, "its certificate is one that issues others; provision the site again")


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _require_valid(name: str, what: str, certificate: x509.Certificate, now: datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        raise rejected(
            name,
            f"the {what} is valid from {begin:%Y-%m-%d %H:%M} UTC on, and here it is "
            f"{now:%Y-%m-%d %H:%M}; compare the clocks",
        )
    if now > end:
        raise rejected(
            name,
            f"the {what} expired on {end:%Y-%m-%d %H:%M} UTC; let the hub renew it with `rotate`",
        )

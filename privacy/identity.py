"""Who a party is: a certificate that the project's root issued, and the key that goes with it.

A relay can neither put its own key in a site's place nor speak for a site: what a site says is
signed, and all check it against the root certificate of their own kit, never against one that
arrived with the message.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from fedefm.errors import ProvisionError
from privacy.ledger.files import write_whole
from privacy.project_root import (
    LONGEST_CERTIFICATE,
    UNREADABLE,
    ProjectRoot,
    common_name,
    read_kit_file,
    rejected,
)
from privacy.signatures import PrivateKey, private_key, sign

__all__ = ["LONGEST_SIGNATURE", "Identity", "MessageSeal", "ProjectRoot", "ThrowAwayRoot"]

LONGEST_SIGNATURE = 1024  # bytes; RSA with 8192 bits
ROOT_FILE, CERTIFICATE_FILE, KEY_FILE = "rootCA.pem", "client.crt", "client.key"  # as in a kit
THROW_AWAY_DAYS = 365
_MESSAGE = b"message\n"  # what the signed form of a message begins with


@dataclass(frozen=True)
class Identity:
    """A party's name, its certificate (PEM), and the private key, which no text ever shows."""

    name: str
    certificate: bytes = field(repr=False)
    key: PrivateKey = field(repr=False)

    @classmethod
    def load(cls, name: str, certificate_path: Path, key_path: Path) -> "Identity":
        """From the files of a kit, without password. Raises ProvisionError, naming the file."""
        try:
            certificate = x509.load_pem_x509_certificate(read_kit_file(certificate_path))
            belongs_to, public = common_name(certificate), certificate.public_key()
        except UNREADABLE as error:
            raise ProvisionError(
                f"{certificate_path} holds no certificate that can be used: {error}"
            ) from None
        if belongs_to != name:
            raise ProvisionError(
                f"{certificate_path} is the certificate of {belongs_to!r}, not of {name!r}; take "
                "the files of the site's own kit"
            )
        key = _private_key(key_path)
        if key.public_key() != public:
            raise ProvisionError(
                f"{key_path} is not the key of {certificate_path}; take both from the same kit"
            )
        return cls(name, certificate.public_bytes(serialization.Encoding.PEM), key)

    def sign(self, data: bytes) -> bytes:
        """A signature of ``data``, which must begin with what it is for."""
        return sign(self.key, data)


@dataclass(frozen=True)
class MessageSeal:
    """Signs a party's messages, and checks those of others against the project's root.

    Implements ``fedefm.train.message.Seal``: the certificate travels with each signature.
    """

    identity: Identity
    root: ProjectRoot

    def sign(self, data: bytes) -> str:
        """The proof of ``data``: JSON of certificate (PEM) and signature (hex)."""
        signature = self.identity.sign(_MESSAGE + data).hex()
        certificate = self.identity.certificate.decode("ascii")
        return json.dumps({"certificate": certificate, "signature": signature})

    def verify(self, sender: str, data: bytes, seal: str) -> None:
        """Raises MessageRejected where ``seal`` is not the proof of ``sender`` for ``data``."""
        if not seal:
            raise rejected(sender, "it did not sign its message, and this run takes only signed")
        try:
            certificate, signature = _opened(seal)
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise rejected(
                sender, "its signature cannot be read; use the same version at all sites"
            ) from None
        self.root.verify(sender, certificate, signature, _MESSAGE + data)


class ThrowAwayRoot:
    """Issues identities, for simulations only: whoever makes it can speak for every site.

    Its own key stays in memory, so that what it issued ends with the process that made it.
    """

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._name = _named("simulation")
        self.root = ProjectRoot(self._certificate(self._name, self._key.public_key(), True))
        self._issued: dict[str, Identity] = {}

    def issue(self, name: str) -> Identity:
        """The identity of ``name``, the same each time.

        Raises ProvisionError where the name cannot stand in a certificate.
        """
        if name not in self._issued:
            key = Ed25519PrivateKey.generate()
            pem = self._certificate(_named(name), key.public_key(), False)
            self._issued[name] = Identity(name, pem, key)
        return self._issued[name]

    def save(self, folder: Path) -> None:
        """Write what each party so far needs into ``folder/NAME``, for processes of their own."""
        for name, identity in self._issued.items():
            place = folder / name
            place.mkdir(parents=True, exist_ok=True)
            key = identity.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            write_whole(place / KEY_FILE, key, mode=0o600)
            write_whole(place / CERTIFICATE_FILE, identity.certificate)
            write_whole(place / ROOT_FILE, self.root.certificate)

    def _certificate(self, subject: x509.Name, key: Ed25519PublicKey, is_root: bool) -> bytes:
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=THROW_AWAY_DAYS))
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        )
        return builder.sign(self._key, algorithm=None).public_bytes(serialization.Encoding.PEM)


def _private_key(path: Path) -> PrivateKey:
    pem = read_kit_file(path)
    try:
        return private_key(serialization.load_pem_private_key(pem, password=None))
    except (*UNREADABLE, ProvisionError):  # the reason is not told: it could quote the file
        raise ProvisionError(
            f"{path} holds no private key that can be used: it must be PEM without a password. "
            "Take the key file of the site's kit"
        ) from None


def _opened(seal: str) -> tuple[bytes, bytes]:
    """Certificate and signature. Raises ValueError, TypeError or AttributeError."""
    if len(seal) > 2 * (LONGEST_CERTIFICATE + LONGEST_SIGNATURE):
        raise ValueError("too long")
    fields = json.loads(seal)
    if set(fields) != {"certificate", "signature"}:
        raise ValueError("other fields")
    return fields["certificate"].encode("ascii"), bytes.fromhex(fields["signature"])


def _named(name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError:
        raise ProvisionError(
            f"site name {name!r} cannot stand in a certificate; use 1 to 64 characters"
        ) from None

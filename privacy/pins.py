"""Which certificate a peer must have, as the hospital was told by the peer itself.

Whoever holds the project's root key can issue a certificate in any name. A pin is the fingerprint
of the one certificate that counts, and with pins no other party is taken for a peer at all.
"""

from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from fedefm.errors import MessageRejected, ProvisionError
from privacy.project_root import UNREADABLE, read_kit_file

ALGORITHM = "sha256"
CERTIFICATES = ("client.crt", "server.crt")  # in startup/ of a kit
_SHA256 = hashes.SHA256()


class Pins:
    """The fingerprints of all parties that a site takes messages from, by their names in a job."""

    def __init__(self, peers: Mapping[str, str]) -> None:
        self._peers = dict(peers)

    def check(self, name: str, certificate: bytes) -> None:
        """Raises MessageRejected, naming the party, unless ``certificate`` (PEM) is its pinned."""
        if name not in self._peers:
            raise MessageRejected(
                f"{name}: the site file pins the certificates of its peers, and this one is not "
                "among them; add it to `peers`, or leave the site out of the job"
            )
        found = fingerprint(certificate)
        if found != self._peers[name]:
            raise MessageRejected(
                f"{name}: its certificate is {found}, and `peers` of the site file pins "
                f"{self._peers[name]}; somebody else may speak in its name. Ask the peer, not over "
                "this project's server, for what `fedefm provision fingerprint` prints there"
            )


def fingerprint(certificate: bytes) -> str:
    """``sha256:`` and 64 hexadecimal digits of the first certificate in PEM.

    Raises MessageRejected where there is none.
    """
    try:
        digest = x509.load_pem_x509_certificate(certificate).fingerprint(_SHA256)
    except UNREADABLE:
        raise MessageRejected("what was sent as certificate is none") from None
    return f"{ALGORITHM}:{digest.hex()}"


def fingerprint_of(place: Path) -> str:
    """The fingerprint of the certificate at ``place``, or of that of a kit.

    Raises ProvisionError, naming the file.
    """
    path = _certificate_at(place) if place.is_dir() else place
    try:
        return fingerprint(read_kit_file(path))
    except MessageRejected:
        raise ProvisionError(f"{path} holds no certificate that can be read") from None


def _certificate_at(kit: Path) -> Path:
    found = [folder / name for folder in (kit, kit / "startup") for name in CERTIFICATES]
    there = [path for path in found if path.is_file()]
    if len(there) != 1:
        raise ProvisionError(
            f"{kit} is no kit of a site, person or server: it should have one of "
            f"{' and '.join(CERTIFICATES)} in startup/, and has {len(there)}"
        )
    return there[0]

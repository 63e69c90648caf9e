"""Makes ``vectors.json``: two whole sessions of the protocol, from secrets that everybody may know.

Run ``python -m tests.privacy.secagg.make_vectors`` after a change of the protocol, which then needs
a new version in its labels.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.x509.oid import NameOID

from privacy.identity import Identity
from privacy.project_root import ProjectRoot
from privacy.secagg import shares
from privacy.secagg.context import Context
from privacy.secagg.keys import SessionKeys
from privacy.secagg.member import member
from privacy.secagg.memory import Memory
from privacy.secagg.receiver import receiver
from privacy.secagg.ring import Ring
from privacy.secagg.session_secrets import SessionSecrets
from privacy.secagg.steps import Packet
from tests.privacy.secagg.driver import run

FILE = Path(__file__).with_name("vectors.json")
RECEIVER, MEMBERS = "server", ("site-1", "site-2", "site-3", "site-4")
DROPPED = "site-4"  # after it dealt its shares
PARTS = {
    "site-1": [1.0, -0.5, 7.999999, 0.0, 0.1],
    "site-2": [0.25, -8.0, 3.1415927, 0.0, 0.2],
    "site-3": [-2.0, 1e-7, 0.0, -0.0, 0.3],
    "site-4": [5.0, 5.0, 5.0, 5.0, 5.0],
}


def known(what: str, name: str) -> bytes:
    """A secret of the vectors: SHA-256 of what it is and whose."""
    return hashlib.sha256(f"{what} of {name}".encode()).digest()


def coefficients(secret: bytes) -> Iterator[int]:
    """Those of the polynomial of a secret, after the secret itself."""
    for power in range(1, 100):
        yield int.from_bytes(hashlib.sha512(secret + bytes([power])).digest(), "big")


def session(compact: bool) -> dict[str, Any]:
    """One session, with all that was known and all that was sent."""
    ring = Ring.default(4, 8.0, compact)
    context = Context(
        "job", "run-1", 7, "sum", RECEIVER, MEMBERS, False, ring.describe(), "model-digest"
    )
    root, identities = _certificates()
    secrets = {name: _secrets(name) for name in MEMBERS}
    told: list[str] = []
    sessions: dict[str, Any] = {
        name: member(
            context,
            ring,
            np.array(PARTS[name], np.float32),
            identities[name],
            root,
            Memory(None),
            2,
            told.append,
            secrets[name],
        )
        for name in MEMBERS
    }
    sessions[RECEIVER] = receiver(context, ring, 5, root, told.append)
    with patch.object(shares, "split", _split):
        ended = run(sessions, _without_the_dropped)
    return {
        "context": {**vars(context), "members": list(MEMBERS)},
        "root": root.certificate.decode(),
        "secrets": {name: _described(name) for name in MEMBERS},
        "parts": PARTS,
        "packets": [_packet(*sent) for sent in ended.sent],
        "members": list(ended.opened.members),
        "total": [float(value) for value in ended.opened.total],
    }


def written(sessions: list[dict[str, Any]]) -> str:
    return json.dumps(sessions, indent=1, sort_keys=True) + "\n"


def _without_the_dropped(step: int, sender: str, addressee: str, packet: Packet) -> Packet | None:
    return None if sender == DROPPED and step >= 4 else packet


def _packet(step: int, sender: str, addressee: str, packet: Packet) -> dict[str, Any]:
    vector = None if packet.vector is None else packet.vector.tobytes().hex()
    return {
        "step": step,
        "from": sender,
        "to": addressee,
        "payload": packet.payload.decode(),
        "vector": vector,
    }


def _described(name: str) -> dict[str, str]:
    kinds = ("mask_private", "cipher_private", "seed", "rounding_key", "signing_key")
    return {kind: known(kind, name).hex() for kind in kinds}


def _secrets(name: str) -> SessionSecrets:
    pair = []
    for kind in ("mask_private", "cipher_private"):
        private = known(kind, name)
        public = X25519PrivateKey.from_private_bytes(private).public_key()
        pair += [private, public.public_bytes_raw()]
    return SessionSecrets(SessionKeys(*pair), known("seed", name), known("rounding_key", name))


def _split(secret: bytes, threshold: int, count: int) -> list[shares.Share]:
    chosen = coefficients(secret)
    with patch.object(shares.secrets, "randbelow", lambda limit: next(chosen)):
        return SPLIT(secret, threshold, count)


def _certificates() -> tuple[ProjectRoot, dict[str, Identity]]:
    root_key = Ed25519PrivateKey.from_private_bytes(known("signing_key", "root"))
    root = _certificate("project", root_key, root_key, 1)
    identities = {}
    for number, name in enumerate(MEMBERS, start=2):
        key = Ed25519PrivateKey.from_private_bytes(known("signing_key", name))
        identities[name] = Identity(name, _certificate(name, key, root_key, number), key)
    return ProjectRoot(root), identities


def _certificate(
    name: str, key: Ed25519PrivateKey, issuer: Ed25519PrivateKey, number: int
) -> bytes:
    """Valid for all time, and always the same."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "project")]))
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=timezone.utc))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=timezone.utc))
        .add_extension(x509.BasicConstraints(number == 1, None), critical=True)
    )
    return builder.sign(issuer, algorithm=None).public_bytes(serialization.Encoding.PEM)


SPLIT = shares.split

if __name__ == "__main__":
    FILE.write_text(written([session(compact) for compact in (False, True)]), encoding="utf-8")

"""A second implementation, out of docs/secure-aggregation.md alone, against recorded sessions.

It uses hashlib, hmac, NumPy and the primitives of ``cryptography``, and nothing of the product.
"""

import hashlib
import hmac
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.privacy.secagg.make_vectors import FILE, session, written

P = 2**521 - 1
SIGNED = b"fedefm signature 1\n"
DOCUMENT = Path(__file__).parents[3] / "docs" / "secure-aggregation.md"


def json_bytes(content: Any) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def hkdf(secret: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, no salt, 32 bytes: one block."""
    return hmac.digest(hmac.digest(bytes(32), secret, "sha256"), info + b"\x01", "sha256")


def stream(key: bytes, count: int, kind: str = "<u4") -> Any:
    words = np.dtype(kind)
    cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(cipher.update(bytes(count * words.itemsize)), words)


def at_zero(points: dict[int, int]) -> int:
    total = 0
    for i, value in points.items():
        for j in points:
            if j != i:
                value = value * j * pow(j - i, -1, P) % P
        total += value
    return total % P


class Recorded:
    """One session of the file, and what the document says about it."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self.context = record["context"]
        self.members: list[str] = self.context["members"]
        n, c = len(self.members), self.context["colluders"]
        self.t = min(n, (n + c) // 2 + 1)
        self.adverts = {name: self.said(0, name) for name in self.members}
        content = {"version": "fedefm secure sum 1", "attempt": None, **self.context}
        self.c = sha256(json_bytes(content))
        roster = sha256(json_bytes(self.adverts))
        self.s = sha256(json_bytes(["fedefm secagg 1 session", self.c.hex(), roster.hex()]))
        self.dealings = {name: self.said(2, name) for name in self.members}
        self.sealed = {name: self.dealings[name].pop("sealed") for name in self.members}
        self.u2, self.u3 = sorted(self.dealings), record["members"]

    def packet(self, step: int, sender: str, to: str = "server") -> dict[str, Any]:
        found = [
            packet
            for packet in self.record["packets"]
            if (packet["step"], packet["from"], packet["to"]) == (step, sender, to)
        ]
        assert len(found) == 1
        payload = found[0]["payload"].encode()
        assert json_bytes(json.loads(payload)) == payload
        return found[0]  # type: ignore[no-any-return]

    def said(self, step: int, sender: str, to: str = "server") -> dict[str, Any]:
        return json.loads(self.packet(step, sender, to)["payload"])  # type: ignore[no-any-return]

    def secret(self, kind: str, name: str) -> bytes:
        return bytes.fromhex(self.record["secrets"][name][kind])

    def index(self, holder: str) -> int:
        return sorted(self.adverts).index(holder) + 1

    def require_signed(self, name: str, signature: str, data: bytes) -> None:
        certificate = x509.load_pem_x509_certificate(self.adverts[name]["certificate"].encode())
        key = certificate.public_key()
        assert isinstance(key, Ed25519PublicKey)
        key.verify(bytes.fromhex(signature), SIGNED + data)
        assert data  # and it is deterministic:
        signing = Ed25519PrivateKey.from_private_bytes(self.secret("signing_key", name))
        assert signing.sign(SIGNED + data).hex() == signature

    def agreed(self, label: str, private: bytes, public: str, names: list[str]) -> bytes:
        key = X25519PrivateKey.from_private_bytes(private)
        secret = key.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(public)))
        own = key.public_key().public_bytes_raw().hex()
        rest = json_bytes([*names, *sorted([own, public])])
        return hkdf(secret, label.encode() + b"\0" + self.s + rest)

    def pair_key(self, one: str, other: str) -> bytes:
        private, public = self.secret("mask_private", one), self.adverts[other]["mask_key"]
        return self.agreed("fedefm secagg 1 mask", private, public, sorted([one, other]))

    def self_key(self, seed: bytes) -> bytes:
        return hkdf(seed, b"fedefm secagg 1 self\0" + self.s + b"[]")

    def sealing_key(self, owner: str, holder: str) -> bytes:
        private, public = self.secret("cipher_private", holder), self.adverts[owner]["cipher_key"]
        return self.agreed("fedefm secagg 1 cipher", private, public, [owner, holder])

    def commitment(self, kind: str, owner: str, holder: str, share: bytes) -> str:
        label = f"fedefm secagg 1 share of a {kind}"
        place = [owner, holder, self.index(holder)]
        return sha256(json_bytes([label, self.s.hex(), place, share.hex()])).hex()

    def shares_for(self, owner: str, holder: str) -> tuple[bytes, bytes]:
        """Opened with the holder's key."""
        place = b"fedefm secagg 1 sealed shares\0" + self.s + json_bytes([owner, holder])
        cipher = ChaCha20Poly1305(self.sealing_key(owner, holder))
        blob = cipher.decrypt(bytes(12), bytes.fromhex(self.sealed[owner][holder]), place)
        assert len(blob) == 132
        return blob[:66], blob[66:]

    def released(self, kind: str, owner: str) -> bytes:
        """The secret out of the first t holders' shares."""
        points = {}
        for holder in self.u3[: self.t]:
            share = bytes.fromhex(self.said(8, holder)[kind][owner])
            committed = self.dealings[owner]["commitments"][holder]
            here = committed[:64] if kind == "seed" else committed[64:]
            assert self.commitment(kind, owner, holder, share) == here
            points[self.index(holder)] = int.from_bytes(share, "big")
        return at_zero(points).to_bytes(32, "big")

    @property
    def quantum(self) -> float:
        ring = self.context["ring"]
        largest = 2 ** (ring["value_bits"] - 1) - 1
        if ring["parties"] * (largest + 1) <= 2 ** (ring["bits"] - 1) - 1:
            largest += 1
        power = -200
        while math.ldexp(largest, power) < float(np.float32(ring["bound"])):
            power += 1
        return math.ldexp(1.0, power)

    def rounded(self, name: str) -> list[int]:
        values = [float(np.float32(value)) for value in self.record["parts"][name]]
        coins = stream(self.secret("rounding_key", name), len(values), "<u2")
        whole = [math.floor(value / self.quantum) for value in values]
        factor = np.nextafter(np.float32(65536), np.float32(0))
        return [
            low + int(coin < math.floor(np.float32(value / self.quantum - low) * factor))
            for value, low, coin in zip(values, whole, coins, strict=True)
        ]

    def vector(self, name: str) -> list[int]:
        size = self.context["ring"]["bits"] // 8
        data = bytes.fromhex(self.packet(4, name)["vector"])
        return [
            int.from_bytes(data[place : place + size], "little")
            for place in range(0, len(data), size)
        ]


RECORDS = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(params=[0, 1], ids=["32 bits", "24 bits"])
def recorded(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(RECORDS[request.param])


def test_the_product_makes_these_very_packets() -> None:
    assert written([session(compact) for compact in (False, True)]) == FILE.read_text("utf-8")


def test_adverts_are_signed_over_the_context(recorded: Recorded) -> None:
    for name, advert in recorded.adverts.items():
        keys = [advert["mask_key"], advert["cipher_key"]]
        data = json_bytes([recorded.c.hex(), name, advert["attempt"], *keys])
        recorded.require_signed(name, advert["signature"], b"fedefm secagg 1 advert\0" + data)
        for kind, public in zip(("mask_private", "cipher_private"), keys, strict=True):
            private = X25519PrivateKey.from_private_bytes(recorded.secret(kind, name))
            assert private.public_key().public_bytes_raw().hex() == public


def test_dealings_are_signed_over_the_session(recorded: Recorded) -> None:
    for name, dealing in recorded.dealings.items():
        data = [recorded.s.hex(), name, dealing["commitments"], dealing["seed_commitment"]]
        signed = b"fedefm secagg 1 dealing\0" + json_bytes(data)
        recorded.require_signed(name, dealing["signature"], signed)
        seed = recorded.secret("seed", name).hex()
        content = ["fedefm secagg 1 seed", recorded.s.hex(), [name], seed]
        assert sha256(json_bytes(content)).hex() == dealing["seed_commitment"]


def test_sealed_shares_open_to_points_of_the_polynomials(recorded: Recorded) -> None:
    for owner in recorded.members:
        kinds = (("seed", "seed"), ("key", "mask_private"))
        for holder in set(recorded.members) - {owner}:
            opened = recorded.shares_for(owner, holder)
            committed = ""
            for (kind, secret), share in zip(kinds, opened, strict=True):
                assert share == point(
                    recorded.secret(secret, owner), recorded.t, recorded.index(holder)
                )
                committed += recorded.commitment(kind, owner, holder, share)
            assert recorded.dealings[owner]["commitments"][holder] == committed


def point(secret: bytes, t: int, x: int) -> bytes:
    """Coefficient k of the vectors is SHA-512 of the secret and the byte k."""
    total = int.from_bytes(secret, "big")
    for power in range(1, t):
        total += int.from_bytes(hashlib.sha512(secret + bytes([power])).digest(), "big") * x**power
    return (total % P).to_bytes(66, "big")


def test_members_are_passed_what_the_owners_dealt(recorded: Recorded) -> None:
    for name in recorded.members:
        assert recorded.said(1, "server", name) == {"adverts": recorded.adverts}
        sealed = {to: recorded.sealed[to][name] for to in recorded.members if to != name}
        expected = {"dealings": recorded.dealings, "sealed": sealed}
        assert recorded.said(3, "server", name) == expected
    assert recorded.said(5, "server", "site-1") == {"members": recorded.u3}
    assert set(recorded.said(5, "server", "site-4")) == {"abort"}


def test_masked_vectors_are_rounded_inputs_plus_streams(recorded: Recorded) -> None:
    modulus = 2 ** recorded.context["ring"]["bits"]
    for name in recorded.members:
        total = np.array(recorded.rounded(name), dtype=object)
        total = total + stream(recorded.self_key(recorded.secret("seed", name)), 5).astype(object)
        for other in sorted(set(recorded.u2) - {name}):
            mask = stream(recorded.pair_key(name, other), 5).astype(object)
            total = total + mask if name < other else total - mask
        assert [int(value) % modulus for value in total] == recorded.vector(name)


def test_consents_are_signed_over_all_that_was_seen(recorded: Recorded) -> None:
    dealings = sha256(json_bytes(recorded.dealings)).hex()
    content = [recorded.s.hex(), dealings, recorded.u2, recorded.u3]
    data = b"fedefm secagg 1 consent\0" + json_bytes(content)
    signatures = {name: recorded.said(6, name)["signature"] for name in recorded.u3}
    for name in recorded.u3:
        assert recorded.said(4, name) == {"dealings": dealings}
        recorded.require_signed(name, signatures[name], data)
        assert recorded.said(7, "server", name) == {"signatures": signatures}


def test_released_shares_open_the_sum_and_no_more(recorded: Recorded) -> None:
    bits = recorded.context["ring"]["bits"]
    for holder in recorded.u3:
        assert set(recorded.said(8, holder)["seed"]) == set(recorded.u3)
        assert set(recorded.said(8, holder)["key"]) == set(recorded.u2) - set(recorded.u3)
    total = sum(np.array(recorded.vector(name), dtype=object) for name in recorded.u3)
    for name in recorded.u3:
        seed = recorded.released("seed", name)
        assert seed == recorded.secret("seed", name)
        total = total - stream(recorded.self_key(seed), 5).astype(object)
    for gone in set(recorded.u2) - set(recorded.u3):
        assert recorded.released("key", gone) == recorded.secret("mask_private", gone)
        for name in recorded.u3:
            mask = stream(recorded.pair_key(gone, name), 5).astype(object)
            total = total - mask if name < gone else total + mask
    half = 2 ** (bits - 1)
    signed = [(int(value) + half) % (2 * half) - half for value in total]
    assert signed == [
        sum(column) for column in zip(*map(recorded.rounded, recorded.u3), strict=True)
    ]
    assert [float(np.float32(value) * np.float32(recorded.quantum)) for value in signed] == (
        recorded.record["total"]
    )


def test_the_document_shows_values_of_these_sessions(recorded: Recorded) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    if recorded.context["ring"]["bits"] == 24:
        assert recorded.packet(4, "site-1")["vector"] in text
        return
    shown = [
        recorded.c,
        recorded.s,
        recorded.self_key(recorded.secret("seed", "site-1")),
        recorded.pair_key("site-1", "site-2"),
        recorded.sealing_key("site-1", "site-2"),
        recorded.shares_for("site-1", "site-2")[0],
        sha256(json_bytes(recorded.dealings)),
        bytes.fromhex(recorded.packet(4, "site-1")["vector"]),
    ]
    for value in shown:
        assert value.hex() in text, value.hex()

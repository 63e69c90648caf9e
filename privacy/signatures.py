"""Signatures with the kinds of keys that certificates of a project have.

The same key also serves FLARE, for TLS and for its own messages. What is signed here begins with
``DOMAIN``, so that neither side can take the other's signature for its own.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from fedefm.errors import ProvisionError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

DOMAIN = b"fedefm signature 1\n"
KINDS = "RSA of at least 2048 bits, ECDSA on P-256 or P-384, or Ed25519"
SHORTEST_RSA = 2048
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.MAX_LENGTH)
_ECDSA = ec.ECDSA(hashes.SHA256())
_CURVES = (ec.SECP256R1, ec.SECP384R1)


def public_key(key: object) -> PublicKey:
    """``key``, where it is one of ``KINDS``. Raises ProvisionError."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= SHORTEST_RSA:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    raise ProvisionError(f"its key is not of a kind that can be used: {KINDS}")


def private_key(key: object) -> PrivateKey:
    """``key``, where it is one of ``KINDS``. Raises ProvisionError."""
    kinds = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)
    if not isinstance(key, kinds):
        raise ProvisionError(f"its key is not of a kind that can be used: {KINDS}")
    public_key(key.public_key())
    return key


def sign(key: PrivateKey, data: bytes) -> bytes:
    """RSA: PSS with SHA-256 and the longest salt, as FLARE signs; ECDSA with SHA-256; Ed25519."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(DOMAIN + data, _PSS, hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(DOMAIN + data, _ECDSA)
    return key.sign(DOMAIN + data)


def is_signed(key: PublicKey, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` was made by ``sign`` with the private half of ``key``."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, DOMAIN + data, _PSS, hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, DOMAIN + data, _ECDSA)
        else:
            key.verify(signature, DOMAIN + data)
    except InvalidSignature:
        return False
    return True

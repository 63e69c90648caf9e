"""The key that signs a ledger's entries: Ed25519, made on first use, in a file beside the ledger.

Whoever can read it can write entries that verify, so it must belong to the job's account alone.
It is made under another name and takes its own when the first entry is in the ledger: a key
without a ledger then means that the ledger was removed, not that its making was interrupted.
"""

import stat
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedefm.errors import LedgerCorrupt, PrivacyError
from privacy.ledger.files import sync_folder, write_whole


class KeyOutOfReach(PrivacyError):
    """The key is there, and this account may not read it."""


def key_path(ledger: Path) -> Path:
    """Where the key of ``ledger`` lies."""
    return ledger.with_name(ledger.name + ".key")


def public_hex(key: Ed25519PrivateKey) -> str:
    """The raw public key in hex, as the first entry names it."""
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return raw.hex()


def new_key(ledger: Path) -> Ed25519PrivateKey:
    """A fresh key, on disk under a provisional name until ``keep`` is called."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_whole(_provisional(ledger), pem, mode=0o600)
    sync_folder(ledger.parent)
    return key


def keep(ledger: Path) -> None:
    """Give the fresh key its name; also after a crash that came between."""
    if key_path(ledger).exists():
        return
    with suppress(FileNotFoundError):  # another process was quicker, or there is none
        _provisional(ledger).rename(key_path(ledger))
        sync_folder(ledger.parent)


def load_key(ledger: Path, public_key: str) -> Ed25519PrivateKey:
    """The key of a ledger that has entries.

    Raises PrivacyError where it is missing or not secret, LedgerCorrupt where it is another one.
    """
    path = key_path(ledger)
    key = _read(path)
    if public_hex(key) != public_key:
        raise LedgerCorrupt(
            f"key {path} is not the one that signed ledger {ledger}; put the ledger and the key "
            "that belong together back from the same backup"
        )
    return key


def is_signed(digest: str, signature: str, public_key: str) -> bool:
    """Whether ``signature`` over the hex ``digest`` was made with the key of ``public_key``."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), bytes.fromhex(digest))
    except (InvalidSignature, ValueError):
        return False
    return True


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        mode = path.stat().st_mode
        pem = path.read_bytes()
    except FileNotFoundError:
        raise PrivacyError(
            f"key {path} is missing and its ledger has entries; put the key back from the backup. "
            "Without it nothing can be added, and nothing is trained"
        ) from None
    except OSError as error:
        raise KeyOutOfReach(
            f"key {path} cannot be read: {error.strerror}; run as the account that owns it"
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PrivacyError(
            f"key {path} is open to other accounts (mode {stat.S_IMODE(mode):04o}), who could "
            f"forge entries; close it with: chmod 600 {path}"
        )
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise PrivacyError(f"{path} holds no Ed25519 key; put the key back from the backup")
    return key


def _provisional(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + ".key.new")

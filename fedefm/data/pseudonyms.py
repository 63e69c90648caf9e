"""Pseudonyms for patients: keyed hashes that only the holder of the key can connect to a name.

A plain hash of a file name or hospital number is undone by trying all numbers; a keyed one (HMAC,
RFC 2104) is not. The key stays at the site, beside the manifest.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from fedefm.data.endless import refuse_endless
from fedefm.errors import DataError

KEY_NAME = ".pseudonym_key"
KEY_BYTES = 32
LONGEST = 1024  # characters of a file that could be one


def new_key() -> bytes:
    """A key from the operating system's generator."""
    return secrets.token_bytes(KEY_BYTES)


def pseudonym(key: bytes, patient: str) -> str:
    """The pseudonym of ``patient``: the same for the same key, 64 bits, so no two patients meet."""
    name = patient.encode(errors="surrogatepass")  # part of a path that need not be UTF-8
    return "p" + hmac.new(key, name, hashlib.sha256).hexdigest()[:16]


def write_key(folder: Path, key: bytes) -> None:
    """Keep the key in ``folder``, readable by its owner alone."""
    handle = os.open(folder / KEY_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(key.hex() + "\n")


def read_key(path: Path) -> bytes:
    """The key in a file that ``write_key`` made. Raises DataError where there is none."""
    refuse_endless(path)
    try:
        with path.open(encoding="ascii") as file:
            key = bytes.fromhex(file.read(LONGEST).strip())
    except OSError as error:
        raise DataError(f"the pseudonym key {path} cannot be read: {error.strerror}") from None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise DataError(f"{path} is not a pseudonym key; it must hold {2 * KEY_BYTES} hex digits")
    return key

"""The digest by which a file is known to be unchanged."""

import hashlib
from pathlib import Path

from fedefm.errors import DataError


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Raises DataError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    return digest.hexdigest()

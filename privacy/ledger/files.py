"""Small files that are whole on disk, or unchanged, whenever the power fails."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``content``; a power cut leaves one or the other. Raises OSError.

    Only one process may write a path at a time: all share one temporary name, so that a kill
    leaves at most one file behind, and the next writing takes it over.
    """
    temporary = path.with_name(path.name + ".part")
    temporary.unlink(missing_ok=True)  # its mode could be another one
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def sync_folder(folder: Path) -> None:
    """Put the folder's names on the disk: only then is a new file sure to stay."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

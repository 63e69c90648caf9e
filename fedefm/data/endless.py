"""Pipes and devices in the place of files: reading them may never end, so they are refused."""

import stat
from pathlib import Path

from fedefm.errors import DataError


def refuse_endless(path: Path) -> None:
    """Raises DataError where ``path`` is there and is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # opening it will tell
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(f"{path} is a pipe or a device; name a file")

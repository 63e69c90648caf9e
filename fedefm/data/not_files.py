"""What lies in a source and is neither a file nor a folder: it is listed and never opened."""

import os
from pathlib import Path

NOWHERE = "it is a link that leads nowhere, or to itself; mend or remove it"
NO_FILE = "it is a pipe, a socket or a device, not a file; copy what it gives into a file"


def not_files(source: Path) -> dict[Path, str]:
    """Each of them below a folder, hidden ones aside, in order, with the reason to leave it out."""
    reasons = {}
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and not path.is_file():
                reasons[path] = NOWHERE if path.is_symlink() and not _leads(path) else NO_FILE
    return reasons


def _leads(link: Path) -> bool:
    try:
        link.stat()
    except OSError:
        return False
    return True

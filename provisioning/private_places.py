"""Files and folders that hold private keys, and that nobody else may read."""

import os
import stat
from pathlib import Path

from fedefm.errors import ProvisionError

OTHERS = stat.S_IRWXG | stat.S_IRWXO
FOLDER, FILE = 0o700, 0o600


def mode(path: Path) -> int:
    """Its permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def shared(path: Path) -> bool:
    """Whether group or others have any right to it."""
    return bool(mode(path) & OTHERS)


def make_private_folder(path: Path) -> None:
    """Make it, or check that it is this user's alone. Raises ProvisionError where it is not."""
    if path.exists():
        require_private(path)
        return
    path.mkdir(mode=FOLDER, parents=True)
    keep_private(path)


def keep_private(path: Path) -> None:
    """Take the rights of group and others away, and see that it worked.

    Raises ProvisionError on disks that keep no permissions, such as some network shares.
    """
    wanted = mode(path) & ~OTHERS
    path.chmod(wanted)
    if shared(path):
        raise ProvisionError(
            f"{path} stays readable by others (mode {mode(path):o}) though that was taken away: "
            "its disk keeps no permissions; choose a folder on a local disk"
        )


def require_private(path: Path) -> None:
    """Raises ProvisionError where group or others may read, write or enter ``path``."""
    if shared(path):
        raise ProvisionError(
            f"{path} may be read by others on this machine (mode {mode(path):o}), and is a place "
            f"for private keys; run `chmod go-rwx {path}`, or choose a new folder. If strangers "
            "have accounts here, take the keys that are in it for known"
        )


def require_place(folder: Path) -> None:
    """Raises ProvisionError where no file can be made in ``folder``: makes one and removes it."""
    _try_to_make(folder / ".fedefm_probe", folder)


def require_replaceable(path: Path) -> None:
    """Raises ProvisionError where ``write_private`` could not write ``path``."""
    if path.is_dir():
        raise _unwritable(path, "it is a folder")
    _try_to_make(_beside(path), path)


def require_writable(path: Path) -> None:
    """Raises ProvisionError where ``path`` cannot be written in its place, or made there."""
    if not path.exists():
        return _try_to_make(path, path)
    try:
        path.open("r+b").close()
    except OSError as error:
        raise _unwritable(path, error.strerror) from None


def _try_to_make(path: Path, wanted: Path) -> None:
    """Raises ProvisionError, naming what is ``wanted``, where no file ``path`` can be made."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, FILE))
        path.unlink()
    except OSError as error:
        raise _unwritable(wanted, error.strerror) from None


def _unwritable(path: Path, why: str | None) -> ProvisionError:
    return ProvisionError(
        f"{path} cannot be written ({why}), and nothing was changed; run this as the owner of "
        f"{path.parent}, on a disk that can be written and has room"
    )


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, and at no time readable by others."""
    beside = _beside(path)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.chmod(FILE)
    beside.replace(path)

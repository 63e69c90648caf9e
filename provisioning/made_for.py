"""Which versions a kit was made for, and whether they are the ones installed here.

The stamp stands in the kit's ``local/fedefm_kit.json``. Toolkit and FLARE must be of its release:
the first two numbers of their versions. A patch may be installed without a new kit.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from fedefm import __version__
from fedefm.errors import ProvisionError
from fedefm.versions import release, work_together

STAMP = "fedefm_kit.json"
LONGEST = 40  # characters of a version that are shown


@dataclass(frozen=True)
class Stamp:
    """What a kit says of itself."""

    toolkit: str
    nvflare: str
    role: str  # server, site or person
    made: str  # when, in ISO form


def stamp(role: str) -> dict[str, str]:
    """The stamp of a kit that is made now, for the versions that make it."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"toolkit": __version__, "nvflare": installed_flare(), "role": role, "made": now}


def read_stamp(kit: Path) -> Stamp:
    """The stamp of the kit in folder ``kit``. Raises ProvisionError, naming the file."""
    path = kit / "local" / STAMP
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        parts = [told[name] for name in ("toolkit", "nvflare", "role", "made")]
    except FileNotFoundError:
        raise _unusable(path, "is missing") from None
    except (OSError, UnicodeDecodeError):
        raise _unusable(path, "cannot be read") from None
    except (KeyError, TypeError, ValueError):
        raise _unusable(path, "does not say toolkit, nvflare, role and made") from None
    if not all(isinstance(part, str) for part in parts):
        raise _unusable(path, "holds something else than text")
    return Stamp(*parts)


def installed_flare() -> str:
    """The version of NVIDIA FLARE in this environment; empty where there is none."""
    try:
        return metadata.version("nvflare")
    except metadata.PackageNotFoundError:
        return ""


def refuse_other_versions(kit: Path) -> None:
    """Raises ProvisionError where ``kit`` was made for other versions than are installed here."""
    stamp = read_stamp(kit)
    pairs = (("fedefm", stamp.toolkit, __version__), ("nvflare", stamp.nvflare, installed_flare()))
    for package, wanted, found in pairs:
        if not work_together(wanted, found):
            raise ProvisionError(
                f"this kit was made for {package} {_shown(wanted)}, and {found or 'none'} is "
                f"installed here; install {_same_release(package, wanted)}, or have the kit made "
                "again for what is installed"
            )


def _same_release(package: str, version: str) -> str:
    return f"`{package}=={release(version)}.*`" if release(version) else f"the {package} it needs"


def _shown(version: str) -> str:
    return version if len(version) <= LONGEST else f"{version[:LONGEST]}..."


def _unusable(path: Path, reason: str) -> ProvisionError:
    return ProvisionError(
        f"{path} {reason}, so that nobody can tell which versions this kit was made for; have the "
        "kit made again, or put the file back from the kit as it was delivered"
    )

"""A kit of a server, a site or a person, whatever made it, and the files that it must have."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedefm.errors import ProvisionError
from provisioning.finding import Finding, ok, problem, warning
from provisioning.private_places import mode, shared

STARTS = {"fed_server.json": "server", "fed_client.json": "site", "fed_admin.json": "person"}
FILES = {
    "server": ("startup/sub_start.sh", "local/resources.json", "local/authorization.json"),
    "site": (
        "startup/sub_start.sh",
        "local/resources.json",
        "local/authorization.json",
        "local/privacy.json",
        "local/fedefm__p_resources.json",
        "local/fedefm_site.yaml",
    ),
    "person": ("startup/fl_admin.sh",),
}
HARDEN = "run `fedefm provision harden KIT`, which writes it, or have the kit made again"


@dataclass(frozen=True)
class Kit:
    """``role`` is server, site or person."""

    folder: Path
    role: str

    @property
    def local(self) -> Path:
        return self.folder / "local"

    @property
    def startup(self) -> Path:
        return self.folder / "startup"

    @property
    def stem(self) -> str:
        """What FLARE calls certificate and key."""
        return "server" if self.role == "server" else "client"

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of ``local``. Raises ProvisionError where there is none to read."""
        path = self.local / name
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ProvisionError(f"{path} is missing, so that FLARE's own defaults hold") from None
        except (OSError, ValueError) as error:
            raise ProvisionError(f"{path} cannot be read: {error}") from None
        if not isinstance(data, dict):
            raise ProvisionError(f"{path} holds no settings")
        return data


def open_kit(folder: Path) -> Kit:
    """The kit in ``folder``. Raises ProvisionError where it is none."""
    found = [role for name, role in STARTS.items() if (folder / "startup" / name).is_file()]
    if len(found) != 1:
        raise ProvisionError(
            f"{folder} is no kit: a kit has a folder startup with one of {', '.join(STARTS)}"
        )
    return Kit(folder, found[0])


def check_files(kit: Kit) -> Iterator[Finding]:
    """Whether all is there, and nobody else can read the keys or change the rest."""
    wanted = [
        *(f"startup/{kit.stem}.{ending}" for ending in ("crt", "key")),
        "startup/rootCA.pem",
        *FILES[kit.role],
    ]
    missing = [name for name in wanted if not (kit.folder / name).is_file()]
    if missing:
        yield problem("files", f"{', '.join(missing)} missing", HARDEN)
    else:
        yield ok("files", f"all that a {kit.role}'s kit needs")
    yield from _of_permissions(kit)


def _of_permissions(kit: Kit) -> Iterator[Finding]:
    keys = [key for key in sorted(kit.startup.glob("*.key")) if shared(key)]
    for key in keys:
        fix = f"chmod 600 {key}; if others have accounts here, `rotate` the certificate"
        yield problem("permissions", f"{key.name} may be read by others ({mode(key):o})", fix)
    open_to_write = [path for path in _all(kit) if mode(path) & 0o022]
    if open_to_write:
        told = ", ".join(str(path.relative_to(kit.folder)) or "." for path in open_to_write[:5])
        fix = f"chmod -R go-w {kit.folder}"
        yield problem("permissions", f"others may change {told}", fix)
    private = (kit.folder, kit.startup, kit.local, kit.folder / "transfer")
    seen = [folder for folder in private if folder.is_dir() and shared(folder)]
    for folder in seen:
        fix = f"chmod 700 {folder}"
        yield warning("permissions", f"others may look into {folder.name} ({mode(folder):o})", fix)
    if not keys and not open_to_write and not seen:
        yield ok("permissions", "keys and settings are their owner's alone")


def _all(kit: Kit) -> Iterator[Path]:
    yield kit.folder
    for folder in (kit.local, kit.startup):
        yield from (path for path in sorted(folder.rglob("*")) if not path.is_symlink())

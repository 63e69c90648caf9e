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
    "server": (
        "startup/start.sh",
        "startup/sub_start.sh",
        "local/resources.json",
        "local/authorization.json",
    ),
    "site": (
        "startup/start.sh",
        "startup/sub_start.sh",
        "local/resources.json",
        "local/authorization.json",
        "local/privacy.json",
        "local/fedefm__p_resources.json",
        "local/fedefm_site.yaml",
    ),
    "person": ("startup/fl_admin.sh",),
}
NEEDED = {  # what the rest of a file is nothing without
    "resources.json": "components",
    "authorization.json": "permissions",
    "privacy.json": "scopes",
    "fedefm__p_resources.json": "components",
}
AS_HANDED_OUT = (  # harden writes no key, certificate or script
    "take startup/ from the kit as it was handed out, or have the hub make a new one "
    "(`fedefm provision rotate`)"
)
DEFAULT_AS_HANDED_OUT = (  # nor FLARE's defaults, from which it writes the rest
    "take the file from the kit as it was handed out, or have the hub make a new one "
    "(`fedefm provision rotate`)"
)
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
        if not path.exists():
            raise ProvisionError(f"{path} is missing, so that FLARE's own defaults hold")
        settings = _settings(path)
        if NEEDED.get(name, "") not in ("", *settings):
            raise ProvisionError(f"{path} has no {NEEDED[name]}, which FLARE needs")
        return settings

    def read_startup(self) -> dict[str, Any]:
        """FLARE's settings in ``startup``, which name a site's ``client``. Raises ProvisionError"""
        (name,) = [name for name, role in STARTS.items() if role == self.role]
        path = self.startup / name
        settings = _settings(path)
        if self.role == "site" and not isinstance(settings.get("client"), dict):
            raise ProvisionError(f"{path} does not say who this is, as FLARE writes it")
        return settings


def _settings(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
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
    faults = [*_of_wanted(kit, wanted), *_of_startup(kit)]
    yield from faults or [ok("files", f"all that a {kit.role}'s kit needs")]
    yield from _of_permissions(kit)


def _of_wanted(kit: Kit, wanted: list[str]) -> Iterator[Finding]:
    for folder, fix in (("startup", AS_HANDED_OUT), ("local", HARDEN)):
        names = [name for name in wanted if name.startswith(f"{folder}/")]
        if missing := [name for name in names if not (kit.folder / name).is_file()]:
            yield problem("files", f"{', '.join(missing)} missing", fix)
        there = [kit.folder / name for name in names if name not in missing]
        if empty := [path for path in there if path.stat().st_size == 0]:
            told = ", ".join(f"{folder}/{path.name}" for path in empty)
            yield problem("files", f"{told} empty", fix)


def _of_startup(kit: Kit) -> Iterator[Finding]:
    try:
        kit.read_startup()
    except ProvisionError as error:
        yield problem("files", str(error), AS_HANDED_OUT)


def _of_permissions(kit: Kit) -> Iterator[Finding]:
    keys = [key for key in sorted(kit.startup.glob("*.key")) if shared(key)]
    for key in keys:
        fix = f"chmod 600 {key}; if others have accounts here, `rotate` the certificate"
        yield problem("permissions", f"{key.name} may be read by others ({mode(key):o})", fix)
    open_to_write = [path for path in _all(kit) if mode(path) & 0o022]
    if open_to_write:
        told = ", ".join(str(path.relative_to(kit.folder)) or "." for path in open_to_write[:5])
        fix = f"chmod -R go-rwx {kit.folder}"
        yield problem("permissions", f"others may change {told}", fix)
    private = (kit.folder, kit.startup, kit.local, kit.folder / "transfer")
    closed = [folder for folder in private if folder.is_dir() and folder not in open_to_write]
    seen = [folder for folder in closed if shared(folder)]
    for folder in seen:
        fix = f"chmod 700 {folder}"
        yield warning("permissions", f"others may look into {folder.name} ({mode(folder):o})", fix)
    if not keys and not open_to_write and not seen:
        yield ok("permissions", "keys and settings are their owner's alone")


def _all(kit: Kit) -> Iterator[Path]:
    yield kit.folder
    for folder in (kit.local, kit.startup):
        yield folder
        yield from (path for path in sorted(folder.rglob("*")) if not path.is_symlink())

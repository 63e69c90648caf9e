"""Whose kit a folder is, and where the project's server listens, as FLARE reads it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedefm.errors import ProvisionError

SETTINGS: dict[Literal["site", "server"], str] = {
    "site": "fed_client.json",
    "server": "fed_server.json",
}
CERTIFICATE = {"site": "client", "server": "server"}  # stem of .crt and .key in startup/


@dataclass(frozen=True)
class Address:
    """A kit and its server.

    ``name`` is the one in the kit's own certificate; ``server`` the one that the server must have
    in its, which may be another than ``host``.
    """

    kit: Path
    role: Literal["site", "server"]
    name: str
    server: str
    host: str
    port: int

    @property
    def startup(self) -> Path:
        """Where certificate and key are."""
        return self.kit / "startup"

    @property
    def certificate(self) -> Path:
        """The kit's own."""
        return self.startup / f"{CERTIFICATE[self.role]}.crt"

    @property
    def key(self) -> Path:
        """The private key that goes with it."""
        return self.startup / f"{CERTIFICATE[self.role]}.key"

    @property
    def root(self) -> Path:
        """The certificate of the project's root."""
        return self.startup / "rootCA.pem"


def read_address(kit: Path) -> Address:
    """What the kit in folder ``kit`` says. Raises ProvisionError, naming folder or file."""
    for role, name in SETTINGS.items():
        path = kit / "startup" / name
        if path.is_file():
            return _read(kit, role, path)
    if (kit / "startup" / "fed_admin.json").is_file():
        raise ProvisionError(f"{kit} is the kit of a person; name that of a site or of the server")
    raise ProvisionError(
        f"{kit} is no kit: it has no startup/{SETTINGS['site']}; name the folder that holds "
        "startup/ and local/"
    )


def _read(kit: Path, role: Literal["site", "server"], path: Path) -> Address:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        (server,) = settings["servers"]
        host, _, port = server["service"]["target"].rpartition(":")
        address = Address(kit, role, *_names(role, settings, server), host, int(port))
    except (OSError, UnicodeDecodeError) as error:
        raise ProvisionError(f"{path} cannot be read: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ProvisionError(
            f"{path} does not say who this is and where the server listens, as FLARE 2.9 writes "
            "it; put the file back from the kit as it was delivered"
        ) from None
    return address


def _names(role: str, settings: dict[str, Any], server: dict[str, Any]) -> tuple[str, str]:
    """Of this kit, and of the server."""
    if role == "server":
        return str(server["admin_server"]), str(server["admin_server"])
    return str(settings["client"]["fqsn"]), str(server["identity"])

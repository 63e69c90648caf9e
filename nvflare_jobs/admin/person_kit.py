"""The kit of a person who may log in to the server: who they are, and what they prove it with."""

import json
from dataclasses import dataclass
from pathlib import Path

from fedefm.errors import ConfigError

KIT_VARIABLE = "FEDEFM_ADMIN_KIT"
NEEDED = ("fed_admin.json", "client.crt", "client.key", "rootCA.pem")


@dataclass(frozen=True)
class PersonKit:
    """A folder as `nvflare provision` makes it for a person: their name, and where the server is.

    ``host`` is empty where the kit does not say it.
    """

    folder: Path
    name: str
    host: str = ""
    port: int = 0

    @property
    def server(self) -> str:
        """The server, as a sentence names it."""
        return f"{self.host}:{self.port}" if self.host else "the server"


def read_person_kit(folder: Path | None) -> PersonKit:
    """The kit in ``folder``. Raises ConfigError where it is none of a person."""
    if folder is None:
        raise ConfigError(
            f"no kit is named to log in with; give --kit, or set {KIT_VARIABLE} to the folder that "
            "you got from whoever made the kits (it has startup/ in it)"
        )
    startup = folder / "startup"
    missing = [name for name in NEEDED if not (startup / name).is_file()]
    if missing:
        raise ConfigError(
            f"{folder} is not the kit of a person: it lacks startup/{', startup/'.join(missing)}; "
            "give the folder with startup/ in it, of somebody who may log in (a server's or a "
            "site's kit cannot)"
        )
    return _read(folder.resolve(), startup)


def _read(folder: Path, startup: Path) -> PersonKit:
    """With the name as the certificate says it; the settings may be older."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate((startup / "client.crt").read_bytes())
        (name,) = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        told = json.loads((startup / "fed_admin.json").read_text(encoding="utf-8"))
        if not isinstance(settings := told.get("admin"), dict) or not settings:
            raise ValueError("fed_admin.json says nothing of who logs in")
        host, port = str(settings.get("host") or ""), int(settings.get("port") or 0)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the kit in {startup.parent} cannot be read: {error}; get it again from whoever made "
            "the kits"
        ) from None
    return PersonKit(folder, str(name.value), host, port)

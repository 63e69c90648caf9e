"""Who the parties of a job are: by the certificates of their kits, in a simulation by others.

A site's certificate is on its FLARE name. The server's is on a name of its own, most often that of
its host, and nothing in it tells it from a site's but this name: each site's kit says it, where
FLARE's client reads it, too. So the party ``server`` is whom the own kit calls the server.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509

from fedefm.errors import MessageRejected, ProvisionError
from fedefm.train.header import SERVER
from nvflare_jobs.parties import places
from nvflare_jobs.parties.pinned import pins_of as pins_of
from privacy.identity import Identity, MessageSeal, ProjectRoot
from privacy.pins import Pins, fingerprint
from privacy.project_root import UNREADABLE, common_name, read_kit_file

CLIENT_SETTINGS = "fed_client.json"  # in startup/ of a site's kit


class PartiesRoot(ProjectRoot):
    """The project's root certificate, asked by the names that parties have in a job."""

    def __init__(self, certificate: bytes, server: str, pins: Pins | None = None) -> None:
        """``server`` is the name in the certificate of the project's server.

        With ``pins`` the root's word is not enough: a party's certificate is the pinned one.
        """
        super().__init__(certificate)
        self._server, self._pins = server, pins

    def verify(self, name: str, certificate: bytes, signature: bytes, data: bytes) -> None:
        """Raises MessageRejected, naming the party, unless ``name`` itself signed ``data``."""
        if name == self._server and name != SERVER:
            raise MessageRejected(f"{name}: this is the name of the project's server, and no site")
        super().verify(self._server if name == SERVER else name, certificate, signature, data)
        if self._pins is not None:
            self._pins.check(name, certificate)


@dataclass(frozen=True)
class Credentials:
    """What a party signs with, under its name in the job, and by what it knows the others."""

    identity: Identity
    root: PartiesRoot

    @property
    def seal(self) -> MessageSeal:
        """For all messages of the party."""
        return MessageSeal(self.identity, self.root)


def credentials_of(
    party: str, sites: Collection[str], kit: Path, needed: bool
) -> Credentials | None:
    """What ``party`` of a job among ``sites`` has in its ``kit``.

    In a simulation it is what the simulation made for it, and None where it made nothing and none
    is ``needed``. Raises ProvisionError, naming the file, for a kit that cannot be used.
    """
    if places.simulated():
        folder = places.identity_folder(party)
        if folder is None and needed:
            raise ProvisionError(
                f"{party!r} has no certificate in this simulation, and privacy.secagg needs one; "
                "start it with `fedefm run --where simulator`"
            )
        return None if folder is None else _loaded(party, folder, "client", SERVER)
    startup = kit / places.STARTUP
    if party == SERVER:
        name = _name_in(startup / "server.crt")
        credentials = _loaded(name, startup, "server", name)
        credentials = replace(credentials, identity=replace(credentials.identity, name=SERVER))
    else:
        name = _server_of(startup / CLIENT_SETTINGS)
        peers = pins_of(party, kit / places.LOCAL, sites)
        credentials = _loaded(party, startup, "client", name, peers)
    if name in sites:
        raise ProvisionError(
            f"a site of this job and the project's server are both called {name!r}, so that nobody "
            "could tell who speaks; provision one of them under another name"
        )
    return credentials


def own_credentials(site: str, kit: Path) -> Credentials:
    """What ``site`` signs with, whatever its own file says. Raises ProvisionError."""
    startup = kit / places.STARTUP
    return _loaded(site, startup, "client", _server_of(startup / CLIENT_SETTINGS))


def _loaded(
    name: str, folder: Path, kind: str, server: str, peers: Mapping[str, str] | None = None
) -> Credentials:
    identity = Identity.load(name, folder / f"{kind}.crt", folder / f"{kind}.key")
    pins = Pins({**peers, name: fingerprint(identity.certificate)}) if peers else None
    path = folder / "rootCA.pem"
    try:
        return Credentials(identity, PartiesRoot(read_kit_file(path), server, pins))
    except ProvisionError as error:
        raise ProvisionError(f"{path}: {error}") from None


def _name_in(path: Path) -> str:
    """On whom the certificate at ``path`` is."""
    try:
        name = common_name(x509.load_pem_x509_certificate(read_kit_file(path)))
    except UNREADABLE:
        name = None
    if name is None:
        raise ProvisionError(f"{path} holds no certificate with a name; provision the server again")
    return name


def _server_of(path: Path) -> str:
    """Whom a site's kit calls the server."""
    try:
        (server,) = json.loads(read_kit_file(path))["servers"]
        name = server["identity"]
    except (KeyError, TypeError, ValueError):
        name = None
    if not isinstance(name, str) or not name:
        raise ProvisionError(
            f"{path} does not say who the project's server is (servers: identity), which FLARE 2.9 "
            "writes there; provision the site again"
        )
    return name

"""Where a site pins its peers, signatures and FLARE's encryption take no other certificates."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.workspace import Workspace
from nvflare.fuel.f3.cellnet.credential_manager import CERT_CONTENT, CERT_ERROR, CredentialManager
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.drivers.driver_params import DriverParams
from nvflare.fuel.f3.endpoint import Endpoint
from nvflare.fuel.f3.message import Message
from nvflare.lighter.entity import Project
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provisioner import Provisioner

from fedefm.errors import ConfigError, MessageRejected, PolicyRefused, ProvisionError
from fedefm.train.exchange import SERVER
from nvflare_jobs.components.pinned_cell import hold_to_pins
from nvflare_jobs.parties import places
from nvflare_jobs.parties.identities import Credentials, credentials_of
from privacy.pins import fingerprint_of

HUB, SITES, JOB = "fl.hub.org", ("hosp-a", "hosp-b"), "3f6c2a90-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Kits of one project, and what the owner of its root key can make in the same names."""
    folder = tmp_path_factory.mktemp("project")
    project = Project("study", "")
    project.set_server(HUB, "hub", {"fed_learn_port": 8102, "admin_port": 8103})
    for site in SITES:
        project.add_client(site, "clinic", {})
    project.add_admin("lead@hub.org", "hub", {"role": "project_admin"})
    builders = [WorkspaceBuilder(), StaticFileBuilder(scheme="http"), CertBuilder()]
    Provisioner(str(folder), builders).provision(project)
    made, minted = folder / "study" / "prod_00", folder / "minted"
    for name in (*SITES, HUB):
        shutil.copytree(made / name, minted / name)
        mint(folder / "study" / "state" / "cert.json", name, minted / name / "startup")
    return made, minted


def mint(state: Path, name: str, startup: Path) -> None:
    """Another certificate and key in the name of ``name``, which the very root issued."""
    kept = json.loads(state.read_text())
    root = x509.load_pem_x509_certificate(kept["root_cert"].encode())
    root_key = serialization.load_pem_private_key(kept["root_pri_key"].encode(), None)
    kind = "server" if name == HUB else "client"
    real = x509.load_pem_x509_certificate((startup / f"{kind}.crt").read_bytes())
    key = rsa.generate_private_key(65537, 2048)
    minted = (
        x509.CertificateBuilder()
        .subject_name(real.subject)
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
        .sign(root_key, hashes.SHA256())
    )
    (startup / f"{kind}.crt").write_bytes(minted.public_bytes(serialization.Encoding.PEM))
    (startup / f"{kind}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


@pytest.fixture(autouse=True)
def outside_simulations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(places.SITES_DIR, raising=False)


def manager_of(kit: Path) -> CredentialManager:
    startup = kit / "startup"
    return CredentialManager(
        Endpoint(
            f"{kit.name}.{JOB}",
            {},
            {
                DriverParams.CA_CERT.value: str(startup / "rootCA.pem"),
                DriverParams.CLIENT_CERT.value: str(startup / "client.crt"),
                DriverParams.CLIENT_KEY.value: str(startup / "client.key"),
            },
        )
    )


def certificate(kit: Path) -> bytes:
    name = "server.crt" if kit.name == HUB else "client.crt"
    return (kit / "startup" / name).read_bytes()


class Site:
    """hosp-a in a job, with its own pins."""

    def __init__(self, folder: Path, kits: Path, peers: dict[str, str]) -> None:
        self.kit = folder / "hosp-a"
        for name in ("local", "startup"):
            (self.kit / name).mkdir(parents=True)
        for path in (kits / "hosp-a" / "startup").iterdir():
            (self.kit / "startup" / path.name).write_bytes(path.read_bytes())
        settings = {"datasets": {}, "peers": peers} if peers else {"datasets": {}}
        (self.kit / "local" / "fedefm_site.yaml").write_text(yaml.safe_dump(settings))
        self.manager = manager_of(self.kit)

    def hold(self) -> None:
        fl_ctx = FLContext()
        fl_ctx.set_prop(ReservedKey.IDENTITY_NAME, "hosp-a")
        cell = SimpleNamespace(core_cell=SimpleNamespace(credential_manager=self.manager))
        workspace = Workspace(str(self.kit), "hosp-a")
        engine = SimpleNamespace(get_cell=lambda: cell, get_workspace=lambda: workspace)
        fl_ctx.get_engine = lambda: engine  # type: ignore[method-assign]
        hold_to_pins(fl_ctx)

    def asked_by(self, cell: str, content: bytes) -> dict:
        request = Message(None, {CERT_CONTENT: content})
        request.set_header(MessageHeaderKey.ORIGIN, cell)
        return self.manager.process_request(request)

    def told_by(self, cell: str, content: bytes) -> bytes:
        reply = Message(None, {CERT_CONTENT: content})
        reply.set_header(MessageHeaderKey.ORIGIN, cell)
        return self.manager.process_response(reply)


def pins(kits: Path) -> dict[str, str]:
    return {"server": fingerprint_of(kits / HUB), "hosp-b": fingerprint_of(kits / "hosp-b")}


def test_pinned_certificates_are_kept(kits, tmp_path) -> None:
    site = Site(tmp_path, kits[0], pins(kits[0]))
    site.hold()
    for name, cell in (("hosp-b", f"hosp-b.{JOB}"), (HUB, "server"), (HUB, f"server.{JOB}")):
        assert site.told_by(cell, certificate(kits[0] / name)) == certificate(kits[0] / name)
        assert CERT_ERROR not in site.asked_by(cell, certificate(kits[0] / name))
    own = certificate(kits[0] / "hosp-a")
    assert site.told_by("hosp-a", own) == own


@pytest.mark.parametrize("name", ["hosp-b", HUB])
def test_another_certificate_in_a_peers_name_is_kept_neither_asked_nor_told(
    kits, tmp_path, name
) -> None:
    cell = f"hosp-b.{JOB}" if name == "hosp-b" else f"server.{JOB}"
    minted = certificate(kits[1] / name)
    unguarded = Site(tmp_path / "unguarded", kits[0], {})
    unguarded.hold()
    assert unguarded.told_by(cell, minted) == minted
    unguarded.manager.encrypt(minted, b"weights")  # FLARE takes it, as the root issued it
    site = Site(tmp_path / "guarded", kits[0], pins(kits[0]))
    site.hold()
    with pytest.raises(Exception, match="somebody else may speak in its name"):
        site.told_by(cell, minted)
    told = site.asked_by(cell, minted)
    assert "somebody else may speak in its name" in told[CERT_ERROR]
    assert CERT_CONTENT not in told
    assert site.manager.get_certificate(cell) is None


def test_who_is_not_pinned_is_refused(kits, tmp_path) -> None:
    site = Site(tmp_path, kits[0], {"server": fingerprint_of(kits[0] / HUB)})
    site.hold()
    told = site.asked_by(f"hosp-b.{JOB}", certificate(kits[0] / "hosp-b"))
    assert told[CERT_ERROR].startswith("hosp-b: the site file pins")


def test_what_flare_took_before_is_looked_at(kits, tmp_path) -> None:
    site = Site(tmp_path, kits[0], pins(kits[0]))
    site.told_by(f"hosp-b.{JOB}", certificate(kits[1] / "hosp-b"))
    with pytest.raises(PolicyRefused, match="FLARE took the certificate of another before"):
        site.hold()


def test_a_flare_that_cannot_be_held_to_pins_is_refused(kits, tmp_path) -> None:
    site = Site(tmp_path, kits[0], pins(kits[0]))
    site.manager = SimpleNamespace()
    with pytest.raises(PolicyRefused, match="cannot be held to them"):
        site.hold()


def test_pins_that_are_none_are_a_mistake_of_the_site_file(kits, tmp_path) -> None:
    for peers, told in (
        ({"server": "sha256:12"}, "not the fingerprint of a certificate"),
        ({"hosp-b": fingerprint_of(kits[0] / "hosp-b")}, "'server' is missing"),
    ):
        with pytest.raises(ConfigError, match=told):
            Site(tmp_path / told[:4], kits[0], peers).hold()


def credentials(kit: Path, sites: tuple[str, ...] = SITES) -> Credentials:
    found = credentials_of(SERVER if kit.name == HUB else kit.name, sites, kit, True)
    assert found is not None
    return found


def test_signatures_with_minted_certificates_are_refused_where_peers_are_pinned(
    kits, tmp_path
) -> None:
    real, minted = kits
    trusting = credentials(Site(tmp_path / "trusting", real, {}).kit)
    pinning = credentials(Site(tmp_path / "pinning", real, pins(real)).kit)
    for name, party in (("hosp-b", "hosp-b"), (HUB, SERVER), ("hosp-a", "hosp-a")):
        said = credentials(real / name).seal.sign(b"header")
        forged = credentials(minted / name).seal.sign(b"header")
        trusting.seal.verify(party, b"header", forged)
        pinning.seal.verify(party, b"header", said)
        with pytest.raises(MessageRejected, match=f"^{party}: .*somebody else may speak"):
            pinning.seal.verify(party, b"header", forged)


def test_a_job_with_a_site_that_is_not_pinned_is_refused_by_name(kits, tmp_path) -> None:
    site = Site(tmp_path, kits[0], pins(kits[0]))
    with pytest.raises(ConfigError, match="those of hosp-c, hosp-d are not among them"):
        credentials(site.kit, (*SITES, "hosp-c", "hosp-d"))


def test_pins_are_read_as_openssl_writes_them(kits, tmp_path) -> None:
    digits = pins(kits[0])["hosp-b"].removeprefix("sha256:").upper()
    colons = ":".join(digits[n : n + 2] for n in range(0, 64, 2))
    peers = {**pins(kits[0]), "hosp-b": f"SHA256 Fingerprint={colons}"}
    site = Site(tmp_path, kits[0], peers)
    site.hold()
    cell = f"hosp-b.{JOB}"
    assert site.told_by(cell, certificate(kits[0] / "hosp-b"))


def test_the_fingerprint_of_what_has_none_is_refused_by_its_place(kits, tmp_path) -> None:
    (tmp_path / "text").write_text("no certificate")
    for place in (tmp_path / "text", tmp_path, tmp_path / "missing"):
        with pytest.raises(ProvisionError, match=str(place)):
            fingerprint_of(place)
    kit = kits[0] / "hosp-b"
    assert fingerprint_of(kit) == fingerprint_of(kit / "startup" / "client.crt")

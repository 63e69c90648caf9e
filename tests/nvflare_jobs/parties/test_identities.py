"""Kits that FLARE itself provisioned: who may speak as whom in a job."""

import json
import shutil
from pathlib import Path

import pytest
from nvflare.lighter.entity import Project
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provisioner import Provisioner

from fedefm.errors import MessageRejected, ProvisionError
from fedefm.train.exchange import SERVER
from nvflare_jobs.parties import places
from nvflare_jobs.parties.identities import Credentials, credentials_of
from privacy.identity import ThrowAwayRoot

HUB = "fl.hub.org"
SITES = ("hosp-a", "hosp-b")


def provision(folder: Path) -> Path:
    project = Project("study", "")
    project.set_server(HUB, "hub", {"fed_learn_port": 8102, "admin_port": 8103})
    for site in SITES:
        project.add_client(site, "clinic", {})
    project.add_admin("lead@hub.org", "hub", {"role": "project_admin"})
    builders = [WorkspaceBuilder(), StaticFileBuilder(scheme="http"), CertBuilder()]
    Provisioner(str(folder), builders).provision(project)
    return folder / "study" / "prod_00"


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return provision(tmp_path_factory.mktemp("project"))


@pytest.fixture(autouse=True)
def outside_simulations(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (places.SITES_DIR, places.STATE_DIR, places.IDENTITIES_DIR):
        monkeypatch.delenv(name, raising=False)


def of(kits: Path, party: str, sites: tuple[str, ...] = SITES) -> Credentials:
    credentials = credentials_of(party, sites, kits / (HUB if party == SERVER else party), True)
    assert credentials is not None
    return credentials


def hear(listener: Credentials, speaker: Credentials, name: str) -> None:
    listener.seal.verify(name, b"header", speaker.seal.sign(b"header"))


def test_sites_and_server_know_each_other_by_the_names_of_a_job(kits: Path) -> None:
    server, one, other = of(kits, SERVER), of(kits, "hosp-a"), of(kits, "hosp-b")
    hear(one, other, "hosp-b")
    hear(one, server, SERVER)
    hear(server, one, "hosp-a")


def test_only_the_projects_server_speaks_as_server_and_as_nobody_else(kits: Path) -> None:
    server, one, other = of(kits, SERVER), of(kits, "hosp-a"), of(kits, "hosp-b")
    with pytest.raises(MessageRejected, match="of 'hosp-b'"):
        hear(one, other, SERVER)
    with pytest.raises(MessageRejected, match=r"^fl\.hub\.org: .*no site"):
        hear(one, server, HUB)
    with pytest.raises(MessageRejected, match=r"^hosp-b: .*of 'fl\.hub\.org'"):
        hear(one, server, "hosp-b")


def test_a_person_who_submits_jobs_speaks_for_nobody(kits: Path) -> None:
    person = kits / "lead@hub.org"
    shutil.copy(kits / "hosp-a" / "startup" / "fed_client.json", person / "startup")
    lead = credentials_of("lead@hub.org", SITES, person, True)
    for name in (SERVER, "hosp-b"):
        with pytest.raises(MessageRejected, match=r"of 'lead@hub\.org'"):
            hear(of(kits, "hosp-a"), lead, name)


def test_a_site_of_another_root_is_refused_by_name(kits: Path, tmp_path: Path) -> None:
    stranger = of(provision(tmp_path), "hosp-b")
    with pytest.raises(MessageRejected, match=r"^hosp-b: .*not issued by this project's root"):
        hear(of(kits, "hosp-a"), stranger, "hosp-b")


def test_a_site_that_is_called_like_the_server_is_refused_at_the_start(kits: Path) -> None:
    for party in (SERVER, "hosp-a"):
        with pytest.raises(ProvisionError, match=r"both called 'fl\.hub\.org'"):
            of(kits, party, (*SITES, HUB))


@pytest.mark.parametrize("name", ["client.crt", "client.key", "rootCA.pem", "fed_client.json"])
@pytest.mark.parametrize("change", ["gone", "empty"])
def test_a_kit_that_cannot_be_used_is_named(kits, tmp_path, name, change) -> None:
    shutil.copytree(kits / "hosp-a", tmp_path / "hosp-a")
    path = tmp_path / "hosp-a" / "startup" / name
    path.unlink() if change == "gone" else path.write_text("")
    with pytest.raises(ProvisionError, match=name.replace(".", r"\.")):
        of(tmp_path, "hosp-a")


def test_a_kit_that_names_no_server_trusts_none(kits: Path, tmp_path: Path) -> None:
    shutil.copytree(kits / "hosp-a", tmp_path / "hosp-a")
    path = tmp_path / "hosp-a" / "startup" / "fed_client.json"
    settings = json.loads(path.read_text())
    del settings["servers"][0]["identity"]
    path.write_text(json.dumps(settings))
    with pytest.raises(ProvisionError, match="does not say who the project's server is"):
        of(tmp_path, "hosp-a")


def test_a_simulation_has_certificates_only_where_it_made_some(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(places.SITES_DIR, str(tmp_path))
    assert credentials_of("hosp-a", SITES, tmp_path, needed=False) is None
    with pytest.raises(ProvisionError, match=r"privacy\.secagg needs one"):
        credentials_of("hosp-a", SITES, tmp_path, needed=True)
    root = ThrowAwayRoot()
    for party in (*SITES, SERVER):
        root.issue(party)
    root.save(tmp_path / "identities")
    monkeypatch.setenv(places.IDENTITIES_DIR, str(tmp_path / "identities"))
    server, one = of(tmp_path, SERVER), of(tmp_path, "hosp-a")
    hear(one, server, SERVER)
    hear(server, one, "hosp-a")
    with pytest.raises(MessageRejected, match="of 'server'"):
        hear(one, server, "hosp-b")


def test_outside_a_simulation_no_folder_of_identities_counts(kits, tmp_path, monkeypatch) -> None:
    root = ThrowAwayRoot()
    root.issue("hosp-a")
    root.save(tmp_path)
    monkeypatch.setenv(places.IDENTITIES_DIR, str(tmp_path))
    assert of(kits, "hosp-a").root.certificate != root.root.certificate

"""Why a site does not reach its server: each cause has its own sentence and its own fix."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fedefm.errors import ProvisionError
from provisioning.address import Address, read_address
from provisioning.reach import port_of_server, reach_server


@pytest.fixture
def site(kits: Path) -> Address:
    return read_address(kits / "hosp-a")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def startup(kits: Path) -> Path:
    return kits / "localhost" / "startup"


def test_a_server_of_the_same_project_takes_the_site(kits, site, listen):
    listen(site.port, startup(kits))
    (found,) = reach_server(site)
    assert found.verdict == "ok"
    assert f"localhost:{site.port}" in found.said


def test_nobody_listens(site):
    (found,) = reach_server(site)
    assert found.verdict == "problem"
    assert "cannot be reached" in found.said
    assert "firewall" in found.fix


def test_a_name_that_nobody_knows(site):
    (found,) = reach_server(replace(site, host="fedefm.invalid"))
    assert "'fedefm.invalid' cannot be resolved" in found.said
    assert "/etc/hosts" in found.fix


def test_another_service_on_the_port(site, listen):
    listen(site.port)
    (found,) = reach_server(site)
    assert found.verdict == "problem"
    assert "not with TLS" in found.said or "ended the connection" in found.said


def test_a_server_of_another_project(site, stranger, listen):
    listen(site.port, startup(stranger))
    (found,) = reach_server(site)
    assert "not one of this project" in found.said


def test_a_server_that_does_not_know_this_sites_root(kits, site, stranger, listen):
    for name in ("client.crt", "client.key"):
        own = site.startup / name
        own.write_bytes((stranger / "hosp-a" / "startup" / name).read_bytes())
    listen(site.port, startup(kits))
    (found,) = reach_server(site)
    assert found.verdict == "problem"
    assert "refuses this kit's certificate" in found.said


def test_a_server_reached_under_a_name_that_is_not_in_its_certificate(kits, site, listen):
    listen(site.port, startup(kits))
    (found,) = reach_server(replace(site, host="127.0.0.1"))
    assert "is not for the name '127.0.0.1'" in found.said


def test_a_server_that_is_called_otherwise_than_the_kit_says(kits, site, listen):
    listen(site.port, startup(kits))
    (found,) = reach_server(replace(site, server="hub.org"))
    assert "'localhost' by its certificate, and this kit is for 'hub.org'" in found.said


@pytest.mark.parametrize("name", ["client.crt", "client.key", "rootCA.pem"])
def test_a_kit_whose_files_are_gone_or_broken(site, listen, name):
    listen(site.port)
    (site.startup / name).write_text("no PEM")
    assert "cannot be used together" in reach_server(site)[0].said
    (site.startup / name).unlink()
    assert "cannot be used together" in reach_server(site)[0].said


def test_a_proxy_that_flare_would_use_is_told(site, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    _, found = reach_server(site)
    assert found.verdict == "warning"
    assert "https_proxy" in found.said
    monkeypatch.setenv("no_proxy", "intranet,localhost")
    assert len(reach_server(site)) == 1


def test_the_servers_own_port_is_free_or_its_own_or_somebody_elses(kits, listen):
    server = read_address(kits / "localhost")
    assert "is free" in port_of_server(server).said
    listen(server.port, startup(kits))
    assert "in use by this project's server" in port_of_server(server).said


def test_the_servers_own_port_is_taken(kits, listen):
    server = read_address(kits / "localhost")
    listen(server.port)
    found = port_of_server(server)
    assert (found.verdict, "taken by something else" in found.said) == ("problem", True)


def test_a_kit_says_who_it_is_and_where_the_server_is(kits):
    site, server = read_address(kits / "hosp-a"), read_address(kits / "localhost")
    assert (site.role, site.name, site.server, site.host) == (
        "site",
        "hosp-a",
        "localhost",
        "localhost",
    )
    assert (server.role, server.name, server.port) == ("server", "localhost", site.port)
    assert site.certificate.is_file()
    assert server.key.is_file()


def test_what_is_no_kit_of_a_site_or_server_is_named(kits, tmp_path):
    with pytest.raises(ProvisionError, match="kit of a person"):
        read_address(kits / "lead@hub.org")
    with pytest.raises(ProvisionError, match="is no kit"):
        read_address(tmp_path)
    settings = kits / "hosp-a" / "startup" / "fed_client.json"
    settings.write_text(json.dumps({"servers": []}))
    with pytest.raises(ProvisionError, match=r"fed_client\.json does not say"):
        read_address(kits / "hosp-a")

"""``fedefm provision`` where private keys stay at home: who comes, who goes, who renews."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fedefm.errors import ProvisionError
from nvflare_jobs.cli import app
from provisioning.kit_files import refused_at
from provisioning.project_edit import read_project


def fedefm(*args: str) -> Result:
    return CliRunner().invoke(app, ["provision", *args])


def init(folder: Path, *more: str) -> Path:
    words = ["--name", "hearts", "--server", "localhost", "--site", "City Clinic", "--keys-at-home"]
    words += ["--lead", "ann@uni.org", "--officer", "omar@uni.org", "--admin", "ida@uni.org"]
    assert fedefm("init", *words, "--out", str(folder), *more).exit_code == 0
    return folder


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    return init(tmp_path / "hearts")


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """As much of a server's kit as tells that it is one, and whom it refuses."""
    kit = tmp_path / "server"
    for folder in ("startup", "local"):
        (kit / folder).mkdir(parents=True)
    (kit / "startup" / "fed_server.json").write_text("{}")
    return kit


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nvflare_provision_makes_no_keys_of_it_and_says_why(hub: Path) -> None:
    nvflare = str(Path(sys.executable).parent / "nvflare")
    done = subprocess.run(
        [nvflare, "provision", "-p", "project.yml"],
        cwd=hub,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode != 0
    assert "private keys stay at home" in done.stdout + done.stderr
    made = contents(hub / "workspace") if (hub / "workspace").exists() else {}
    assert [path for path, data in made.items() if b"PRIVATE KEY" in data] == []
    assert not list(hub.glob("workspace/hearts/prod_*"))


def test_the_files_head_tells_what_it_is_for_and_what_not(hub: Path) -> None:
    head = (hub / "project.yml").read_text().partition("api_version")[0]
    assert "everybody makes their own private key" in head
    assert "Do not run `nvflare provision`" in head
    assert "To make the kits" not in head


def test_who_joins_gets_the_same_file_as_who_was_there_from_the_beginning(
    hub: Path, tmp_path: Path
) -> None:
    more = ["--site", "St. Anne's", "--lead", "bo@uni.org", "--admin", "ed@uni.org"]
    told = fedefm("join", str(hub / "project.yml"), *more)
    assert told.exit_code == 0, told.exception
    first = init(tmp_path / "first", *more)
    assert contents(hub / "requests") == {
        hub / path.relative_to(first): data for path, data in contents(first / "requests").items()
    }
    assert read_project(hub / "project.yml").types == read_project(first / "project.yml").types
    for words in ("St. Anne's is St-Annes in FLARE", "stay at home", "requests/St-Annes.yml"):
        assert words in told.output


def test_wrong_names_join_nowhere(hub: Path) -> None:
    before = contents(hub)
    told = fedefm("join", str(hub / "project.yml"), "--site", "City Clinic", "--lead", "ann")
    assert "is in the project already" in str(told.exception)
    assert "'ann'" in str(told.exception)
    assert contents(hub) == before


@pytest.mark.parametrize("name", ["City-Clinic", "City Clinic", "ann@uni.org"])
def test_an_installed_server_refuses_who_is_retired_and_all_who_were(
    hub: Path, server: Path, name: str
) -> None:
    (server / "disabled_clients.json").write_text('{"disabled_clients": ["long-gone"]}')
    assert fedefm("retire", str(hub / "project.yml"), "omar@uni.org").exit_code == 0
    told = fedefm("retire", str(hub / "project.yml"), name, "--server-kit", str(server))
    assert told.exit_code == 0, told.exception
    called = name.replace(" ", "-")
    assert refused_at(server) == {"long-gone", "omar@uni.org", called}
    assert called not in read_project(hub / "project.yml").types
    assert not (hub / "requests" / f"{called}.yml").exists()
    again = fedefm("join", str(hub / "project.yml"), "--site", "City Clinic", "--lead", name)
    assert isinstance(again.exception, ProvisionError)


def test_a_person_is_refused_with_a_file_for_the_server_and_a_site_with_flares_command(
    hub: Path, server: Path
) -> None:
    person = fedefm("retire", str(hub / "project.yml"), "ann@uni.org")
    rights = hub / "for-server" / "local" / "authorization.json"
    assert f"copy {rights} into local/ of the server's kit" in person.output
    assert "nobody can submit jobs" in person.output
    site = fedefm("retire", str(hub / "project.yml"), "City-Clinic")
    assert "nvflare system disable-client City-Clinic --force" in site.output
    for told in (person, site):
        assert "made anew with `nvflare package` refuses nobody" in told.output
    shutil.copy(rights, server / "local")
    assert refused_at(server) == {"ann@uni.org"}


def test_a_servers_kit_that_was_made_anew_is_told_by_the_same_command(
    hub: Path, server: Path, tmp_path: Path
) -> None:
    for name in ("ann@uni.org", "City-Clinic"):
        assert fedefm("retire", str(hub / "project.yml"), name).exit_code == 0
    copied = shutil.copy(hub / "project.yml", tmp_path)  # all that there is where the server is
    told = fedefm("retire", str(copied), "ann@uni.org", "--server-kit", str(server), "--json")
    assert json.loads(told.stdout) == {"retired": "ann@uni.org", "again": True, "for_server": None}
    assert refused_at(server) == {"ann@uni.org", "City-Clinic"}


def test_a_server_that_cannot_be_told_changes_nothing(hub: Path, server: Path) -> None:
    (server / "disabled_clients.json").mkdir()
    before = contents(hub)
    told = fedefm("retire", str(hub / "project.yml"), "City-Clinic", "--server-kit", str(server))
    assert "disabled_clients.json cannot be written" in str(told.exception)
    assert contents(hub) == before
    assert fedefm("retire", str(hub / "project.yml"), "localhost").exit_code != 0


def test_who_joined_by_a_request_that_somebody_wrote_by_hand_can_be_retired(hub: Path) -> None:
    shutil.copy(hub / "requests" / "City-Clinic.yml", hub / "requests" / "by-hand.yml")
    assert fedefm("retire", str(hub / "project.yml"), "by-hand").exit_code == 0
    assert read_project(hub / "project.yml").retired == ["by-hand"]


def test_the_hub_makes_nobody_a_new_key(hub: Path) -> None:
    before = contents(hub)
    told = str(fedefm("rotate", str(hub / "project.yml"), "City Clinic").exception)
    assert "private keys stay at home: City-Clinic makes a new one there" in told
    assert "docs/keys-stay-at-home.md" in told
    assert contents(hub) == before


def test_a_project_of_an_earlier_release_is_known_by_its_requests(hub: Path) -> None:
    path = hub / "project.yml"
    path.write_text(path.read_text().replace("      keys_at_home: true", "      # "))
    assert "stay at home" in str(fedefm("rotate", str(path), "City-Clinic").exception)

"""``fedefm provision``: a hub's life, from the first kits to a site that leaves."""

import json
import re
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fedefm.errors import ProvisionError
from nvflare_jobs.cli import app
from provisioning.certificates import read_certificate
from provisioning.expiry import terms
from provisioning.project_edit import read_project
from provisioning.workspace import Workspace, differing, make_kits

WORDS = {
    "--name": "hearts",
    "--server": "localhost",
    "--port": "8104",
    "--site": "St. Mary's",
    "--lead": "ann@uni.org",
    "--officer": "omar@uni.org",
    "--admin": "ida@uni.org",
    "--days": "100",
}


def fedefm(*args: str) -> Result:
    return CliRunner().invoke(app, ["provision", *args])


def init(out: Path, *more: str, **changed: str) -> Result:
    words = {**WORDS, **{f"--{name}": value for name, value in changed.items()}}
    return fedefm("init", *(p for pair in words.items() for p in pair), "--out", str(out), *more)


def facts(*args: str) -> dict[str, Any]:
    result = fedefm(*args, "--json")
    assert result.exit_code == 0, result.output + str(result.exception)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with its first kits; nobody may change it."""
    folder = tmp_path_factory.mktemp("hub") / "hearts"
    assert init(folder, "--site", "hosp-B").exit_code == 0
    make_kits(read_project(folder / "project.yml"), Workspace(folder / "workspace", "hearts"))
    return folder


@pytest.fixture
def hub(first: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(first, tmp_path / "hearts")


def kits(hub: Path) -> Path:
    return Workspace(hub / "workspace", "hearts").newest()


def state(hub: Path) -> dict[str, Any]:
    return Workspace(hub / "workspace", "hearts").state()


def test_init_tells_names_lifetime_and_where_the_root_key_lies(tmp_path: Path) -> None:
    result = init(tmp_path / "hearts")
    assert result.exit_code == 0
    assert "St. Mary's is St-Marys in FLARE" in result.output
    assert "last 100 days" in result.output
    assert "workspace/hearts/state/cert.json, unencrypted" in result.output
    assert "nvflare provision -p project.yml" in result.output


def test_init_with_keys_at_home_says_nothing_that_makes_keys_at_the_hub(tmp_path: Path) -> None:
    result = init(tmp_path / "hearts", "--keys-at-home")
    assert result.exit_code == 0
    assert "hearts/ca/rootCA.key, unencrypted" in result.output
    assert "nvflare cert init --profile profile.yml --output-dir ca --valid-days" in result.output
    assert "docs/keys-stay-at-home.md" in result.output
    for other_way in ("Make the kits", "nvflare provision", "cert.json", "last 100 days"):
        assert other_way not in result.output


def test_init_writes_nothing_where_names_are_wrong(tmp_path: Path) -> None:
    result = init(tmp_path / "hearts", site="A=hosp.a", port="0")
    assert "'A=hosp-a'" in str(result.exception)
    assert "port 0" in str(result.exception)
    assert not (tmp_path / "hearts").exists()


def test_init_without_a_terminal_asks_nothing(tmp_path: Path) -> None:
    result = fedefm("init", "--out", str(tmp_path / "hearts"))
    assert result.exit_code != 0
    for missing in ("--name", "--server", "--site", "--lead", "--admin"):
        assert missing in str(result.exception)


def test_init_on_a_terminal_asks_for_what_no_flag_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["hearts", "hub.uni.org", "", "St. Mary's", "B Clinic", "", "ann@uni.org"]
    answers += ["omar@uni.org", "ida@uni.org, jo@uni.org", ""]
    monkeypatch.setattr("rich.prompt.PromptBase.get_input", lambda *_, **__: answers.pop(0))
    monkeypatch.setattr("nvflare_jobs.commands.provision_init._on_a_terminal", lambda: True)
    assert fedefm("init", "--out", str(tmp_path / "hearts")).exit_code == 0
    types = read_project(tmp_path / "hearts" / "project.yml").types
    assert [name for name, kind in types.items() if kind == "client"] == ["St-Marys", "B-Clinic"]
    assert [name for name, kind in types.items() if kind == "admin"][2:] == [
        *("ida@uni.org", "jo@uni.org")
    ]


def test_a_site_joins_and_all_other_kits_are_the_same_to_the_byte(hub: Path) -> None:
    before = kits(hub)
    joined = facts("join", str(hub / "project.yml"), "--site", "New One", "--lead", "bo@uni.org")
    assert [Path(kit).name for kit in joined["hand_out"]] == ["New-One", "bo@uni.org"]
    assert joined["differing"] == {}
    others = sorted(path.name for path in before.iterdir())
    assert len(others) == 6
    for name in others:
        assert differing(before / name, kits(hub) / name) == []
    root = read_certificate(before / "localhost" / "startup" / "rootCA.pem")
    assert read_certificate(kits(hub) / "New-One" / "startup" / "client.crt").signed_by(root)


def test_join_tells_how_flare_calls_a_hospital(hub: Path) -> None:
    result = fedefm("join", str(hub / "project.yml"), "--site", "St. Anne's")
    assert "St. Anne's is St-Annes in FLARE" in result.output


def test_who_joins_under_a_name_that_is_taken_is_proposed_a_free_one(hub: Path) -> None:
    project = str(hub / "project.yml")
    joining = fedefm("join", project, "--site", "St.Mary's", "--site", "x=St-Marys-2").exception
    assert "'St.Mary's=St-Marys-2'" in str(joining).replace('"', "'")
    assert "hosp-B=hosp-B-2" in str(fedefm("join", project, "--site", "hosp-B").exception)
    for wrong, told in (("-rf", "begins with a dash"), ("", "has no name")):
        assert told in str(fedefm("join", project, "--site", wrong).exception)


def test_who_retires_the_only_one_of_a_role_is_warned(hub: Path) -> None:
    project = str(hub / "project.yml")
    assert fedefm("join", project, "--lead", "bo@uni.org").exit_code == 0
    assert "was the only one" not in fedefm("retire", project, "bo@uni.org").output
    assert "nobody can submit jobs" in fedefm("retire", project, "ann@uni.org").output
    assert "no privacy officer looks on" in fedefm("retire", project, "omar@uni.org").output


def test_a_name_that_is_there_joins_only_once(hub: Path) -> None:
    before = (hub / "project.yml").read_text()
    result = fedefm("join", str(hub / "project.yml"), "--site", "HOSP-b", "--lead", "ann")
    assert "is in the project already" in str(result.exception)
    assert "'ann'" in str(result.exception)
    assert (hub / "project.yml").read_text() == before


def test_a_retired_site_leaves_project_state_and_workspace_and_is_on_the_servers_list(
    hub: Path,
) -> None:
    gone = facts("retire", str(hub / "project.yml"), "St-Marys")
    assert gone["differing"] == {}
    assert "St-Marys" not in state(hub)
    assert not list((hub / "workspace").glob("hearts/prod_*/St-Marys"))
    listed = json.loads((kits(hub) / "localhost" / "disabled_clients.json").read_text())
    assert listed == {"disabled_clients": ["St-Marys"]}
    again = fedefm("join", str(hub / "project.yml"), "--site", "St. Mary's")
    assert "choose a new name" in str(again.exception)


def test_flare_reads_the_servers_list_as_we_write_it(hub: Path) -> None:
    from nvflare.private.fed.server.client_manager import ClientManager

    facts("retire", str(hub / "project.yml"), "St-Marys")
    manager = ClientManager(project_name="hearts")
    manager.set_disabled_clients_file(str(kits(hub) / "localhost" / "disabled_clients.json"))
    assert manager.is_client_disabled("St-Marys")
    assert not manager.is_client_disabled("hosp-B")


@pytest.mark.parametrize("name", ["disabled_clients.json", "local/authorization.json"])
@pytest.mark.parametrize("broken", ["", "{", "[]", "{}", '"x"', "null"])
def test_an_installed_server_that_cannot_tell_whom_it_refuses_changes_nothing(
    hub: Path, tmp_path: Path, name: str, broken: str
) -> None:
    installed = shutil.copytree(kits(hub) / "localhost", tmp_path / "server")
    (installed / name).write_text(broken)
    before = (hub / "project.yml").read_text(), state(hub)
    result = fedefm("retire", str(hub / "project.yml"), "hosp-B", "--server-kit", str(installed))
    assert f"{installed / name} does not tell whom the server refuses" in str(result.exception)
    assert ((hub / "project.yml").read_text(), state(hub)) == before


def test_an_installed_server_refuses_as_well_and_keeps_what_it_refused(
    hub: Path, tmp_path: Path
) -> None:
    installed = shutil.copytree(kits(hub) / "localhost", tmp_path / "server")
    (installed / "disabled_clients.json").write_text('{"disabled_clients": ["long-gone"]}')
    facts("retire", str(hub / "project.yml"), "hosp-B", "--server-kit", str(installed))
    listed = json.loads((installed / "disabled_clients.json").read_text())
    assert listed == {"disabled_clients": ["hosp-B", "long-gone"]}


def test_a_kit_that_is_no_servers_is_refused_before_anything_changes(hub: Path) -> None:
    before = (hub / "project.yml").read_text()
    kit = str(kits(hub) / "St-Marys")
    result = fedefm("retire", str(hub / "project.yml"), "hosp-B", "--server-kit", kit)
    assert "no server's kit" in str(result.exception)
    assert (hub / "project.yml").read_text() == before


def test_a_retired_person_has_no_rights_at_the_server(hub: Path) -> None:
    facts("retire", str(hub / "project.yml"), "ann@uni.org")
    rights = json.loads((kits(hub) / "localhost" / "local" / "authorization.json").read_text())
    assert rights["permissions"]["lead"]["submit_job"] == ["any", "not n:ann@uni.org"]


def test_hardening_a_server_again_lets_nobody_in_who_was_refused(hub: Path) -> None:
    for name in ("ann@uni.org", "hosp-B"):
        facts("retire", str(hub / "project.yml"), name)
    server = kits(hub) / "localhost"
    before = shutil.copytree(server, hub / "before")
    assert fedefm("harden", str(server)).exit_code == 0
    assert differing(before, server) == []


def test_a_rotated_site_has_a_new_key_from_the_same_root_and_no_other_kit_changes(
    hub: Path,
) -> None:
    before = kits(hub)
    old = read_certificate(before / "hosp-B" / "startup" / "client.crt")
    new = facts("rotate", str(hub / "project.yml"), "hosp-B")
    certificate = read_certificate(kits(hub) / "hosp-B" / "startup" / "client.crt")
    root = read_certificate(before / "localhost" / "startup" / "rootCA.pem")
    assert certificate.signed_by(root)
    assert certificate.x509.public_key() != old.x509.public_key()
    assert new["fingerprint"] == certificate.fingerprint != old.fingerprint
    assert new["differing"] == {}
    assert not (before / "hosp-B").exists()  # the former private key is of no more use


@pytest.mark.parametrize(("renewed", "party"), [("hosp-B", "hosp-B"), ("localhost", "server")])
def test_peers_are_told_a_new_fingerprint_under_the_name_that_jobs_use(
    hub: Path, renewed: str, party: str
) -> None:
    told = fedefm("rotate", str(hub / "project.yml"), renewed).stdout
    (kit,) = (kits(hub) / renewed / "startup").glob(
        "*er*.crt" if party == "server" else "client.crt"
    )
    assert f"  {party}: {read_certificate(kit).fingerprint}\n" in told


def test_what_fails_changes_nothing(hub: Path) -> None:
    path = hub / "project.yml"
    path.write_text(path.read_text().replace("root_valid_days: 3650", "root_valid_days: 3000"))
    before = path.read_text(), state(hub)
    for args in (["join", "--site", "New One"], ["retire", "hosp-B"], ["rotate", "hosp-B"]):
        result = fedefm(args[0], str(path), *args[1:])
        assert "root_valid_days" in str(result.exception)
        assert (path.read_text(), state(hub)) == before
        assert kits(hub).name == "prod_00"
        assert (kits(hub) / "hosp-B").is_dir()


@pytest.mark.parametrize("command", ["retire", "rotate"])
def test_who_is_not_in_the_project_is_told(hub: Path, command: str) -> None:
    result = fedefm(command, str(hub / "project.yml"), "nobody")
    assert "which has localhost, St-Marys" in str(result.exception)


def test_an_open_workspace_is_refused_before_anything_changes(hub: Path) -> None:
    (hub / "workspace" / "hearts").chmod(0o755)
    before = (hub / "project.yml").read_text()
    for args in (["join", "--site", "New One"], ["retire", "hosp-B"], ["rotate", "hosp-B"]):
        result = fedefm(args[0], str(hub / "project.yml"), *args[1:])
        assert "may be read by others" in str(result.exception)
    assert (hub / "project.yml").read_text() == before


def test_check_ends_with_one_until_the_site_file_is_filled_in(hub: Path) -> None:
    kit = kits(hub) / "St-Marys"
    result = fedefm("check", str(kit))
    assert result.exit_code == 1
    assert "names no dataset" in result.output
    assert re.search(r"lead +yes +yes", result.output)
    path = kit / "local" / "fedefm_site.yaml"
    path.write_text(path.read_text().replace("datasets: {}", "datasets: {a: {manifest: m.csv}}"))
    told = facts("check", str(kit))
    assert "problem" not in {finding["verdict"] for finding in told["findings"]}
    assert told["role"] == "site"


def test_a_kit_that_flare_made_alone_can_be_hardened(hub: Path) -> None:
    path = hub / "project.yml"
    text = path.read_text()
    path.write_text(text[: text.index("  # Stricter files")])
    ours_all = kits(hub)
    plain_all = make_kits(read_project(path), Workspace(hub / "workspace", "hearts"))
    for name in ("localhost", "St-Marys", "ann@uni.org"):
        ours, plain = ours_all / name, plain_all / name
        assert fedefm("check", str(plain)).exit_code == 1
        assert fedefm("harden", str(plain)).exit_code == 0
        assert differing(ours, plain) == []


def test_hardening_writes_an_emptied_site_file_again_and_keeps_one_with_words_in_it(
    hub: Path,
) -> None:
    kit = kits(hub) / "St-Marys"
    path = kit / "local" / "fedefm_site.yaml"
    made = path.read_text()
    path.write_text("")
    assert "fedefm_site.yaml empty" in fedefm("check", str(kit)).output
    assert fedefm("harden", str(kit)).exit_code == 0
    assert path.read_text() == made
    path.write_text("datasets: {}  # ours\n")
    fedefm("harden", str(kit))
    assert path.read_text() == "datasets: {}  # ours\n"


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_what_hardening_does_not_write_is_to_be_taken_from_the_kit_as_handed_out(
    hub: Path, text: str
) -> None:
    kit = kits(hub) / "St-Marys"
    (kit / "local" / "log_config.json.default").write_text(text)
    told = fedefm("check", str(kit)).output
    assert "take the file from the kit as it was handed out" in told
    assert "ok      log settings" not in " ".join(told.split(" "))


@pytest.mark.parametrize("name", ["localhost", "St-Marys"])
@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"components": [1]}', None])
def test_a_kit_without_what_flare_wrote_is_not_hardened_by_halves(
    hub: Path, name: str, text: str | None
) -> None:
    kit = kits(hub) / name
    flares = kit / "local" / "resources.json.default"
    flares.unlink() if text is None else flares.write_text(text)
    before = contents(kit)
    result = fedefm("harden", str(kit))
    assert isinstance(result.exception, ProvisionError)
    assert f"{flares} is not as FLARE writes it" in str(result.exception)
    assert contents(kit) == before


@pytest.mark.parametrize(
    ("later", "state"), [(0, "ok"), (39, "ok"), (41, "ends soon"), (101, "ended")]
)
def test_certificates_are_warned_of_sixty_days_before(first: Path, later: int, state: str) -> None:
    now = datetime.now(timezone.utc) + timedelta(days=later)
    for place in (first, first / "workspace", first / "workspace" / "hearts"):
        found = terms([place], now)
        assert len(found) == 7
        assert {term.state for term in found if term.kind != "root"} == {state}
        assert {term.kind for term in found} == {
            *("root", "server", "site", "lead", "member", "project_admin")
        }


@pytest.mark.parametrize(("days", "code"), [("100", 0), ("30", 3)])
def test_expiry_tells_scripts_by_its_exit_code(tmp_path: Path, days: str, code: int) -> None:
    folder = tmp_path / "hearts"
    init(folder, days=days)
    make_kits(read_project(folder / "project.yml"), Workspace(folder / "workspace", "hearts"))
    result = fedefm("expiry", str(folder))
    assert result.exit_code == code
    assert ("rotate" in result.output) is (code == 3)


def test_expiry_of_a_folder_without_certificates_is_refused(tmp_path: Path) -> None:
    assert "holds no certificates" in str(fedefm("expiry", str(tmp_path)).exception)


@pytest.mark.parametrize(
    "command", ["init", "check", "harden", "expiry", "join", "retire", "rotate"]
)
def test_every_command_shows_an_example(command: str) -> None:
    assert f"Example: fedefm provision {command}" in fedefm(command, "--help").output


def test_who_is_named_as_people_write_it_is_renewed_and_retired(hub: Path) -> None:
    project = str(hub / "project.yml")
    renewed = facts("rotate", project, "St. Mary's")
    assert [Path(kit).name for kit in renewed["hand_out"]] == ["St-Marys"]
    assert "disable-client St-Marys --force" in fedefm("retire", project, "St. Mary's").output
    assert read_project(hub / "project.yml").retired == ["St-Marys"]


def test_of_an_unknown_name_the_nearest_is_proposed_and_nothing_changed(hub: Path) -> None:
    before = (hub / "project.yml").read_text()
    for command in ("rotate", "retire"):
        result = fedefm(command, str(hub / "project.yml"), "St. Marie")
        assert "do you mean 'St-Marys'?" in str(result.exception)
    assert (hub / "project.yml").read_text() == before


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '"x"', '{"root_cert": "x", "root_pri_key": "y"}']
)
def test_a_root_that_is_none_is_told_before_anything_is_written(hub: Path, text: str) -> None:
    kept = hub / "workspace" / "hearts" / "state" / "cert.json"
    kept.write_text(text)
    before = (hub / "project.yml").read_text()
    for args in (["join", "--site", "New One"], ["retire", "hosp-B"], ["rotate", "hosp-B"]):
        refused = fedefm(args[0], str(hub / "project.yml"), *args[1:]).exception
        assert isinstance(refused, ProvisionError)
        assert "cert.json is not what FLARE writes" in str(refused)
        assert ((hub / "project.yml").read_text(), kept.read_text()) == (before, text)
        assert kits(hub).name == "prod_00"
        assert (kits(hub) / "hosp-B").is_dir()


@pytest.mark.parametrize("taken", ["disabled_clients.json", "local/authorization.json"])
def test_who_cannot_be_put_on_the_installed_servers_list_is_not_retired_by_halves(
    hub: Path, tmp_path: Path, taken: str
) -> None:
    installed = shutil.copytree(kits(hub) / "localhost", tmp_path / "server")
    (installed / taken).unlink(missing_ok=True)
    (installed / taken).mkdir()  # nothing can be written there, not even by root
    before = contents(hub)
    result = fedefm("retire", str(hub / "project.yml"), "hosp-B", "--server-kit", str(installed))
    assert isinstance(result.exception, ProvisionError)
    assert f"{installed / taken} cannot be written" in str(result.exception)
    assert contents(hub) == before


UNWRITABLE = {  # a folder where a file is to be made: nobody can, not even root
    ".project.yml.new": "project.yml",
    "workspace/hearts/state/.cert.json.new": "workspace/hearts/state/cert.json",
    "workspace/hearts/.fedefm_probe": "workspace/hearts",
}
KIT = {
    "workspace/hearts/prod_00/hosp-B/local/.fedefm_probe": "workspace/hearts/prod_00/hosp-B/local"
}


@pytest.mark.parametrize(
    ("args", "taken", "told"),
    [
        (args, taken, told)
        for args in (["retire", "hosp-B"], ["rotate", "hosp-B"], ["join", "--site=N"])
        for taken, told in {**UNWRITABLE, **({} if args[0] == "join" else KIT)}.items()
    ],
)
def test_what_could_not_be_written_down_is_told_before_anything_changes(
    hub: Path, args: list[str], taken: str, told: str
) -> None:
    (hub / taken).mkdir()
    before = contents(hub)
    result = fedefm(args[0], str(hub / "project.yml"), *args[1:])
    assert isinstance(result.exception, ProvisionError)
    assert f"{hub / told} cannot be written" in str(result.exception)
    assert contents(hub) == before


@pytest.mark.parametrize("lost", ["forget", "drop_kits"])
def test_a_retirement_that_broke_off_is_finished_by_the_same_command(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    installed = shutil.copytree(kits(hub) / "localhost", tmp_path / "server")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Workspace, lost, full)
        broken = fedefm("retire", str(hub / "project.yml"), "hosp-B")
    assert "No space left on device" in str(broken.exception)
    assert "give the same command again" in str(broken.exception)
    assert (hub / "workspace/hearts/prod_00/hosp-B").is_dir()
    again = fedefm("retire", str(hub / "project.yml"), "hosp-B", "--server-kit", str(installed))
    assert again.exit_code == 0, again.output
    assert "was retired before, which was not finished" in again.output
    assert str(hub / "workspace/hearts/prod_00/hosp-B") in again.output
    assert f"the list of whom the server in {installed} refuses" in again.output
    assert "hosp-B" not in state(hub)
    assert not list((hub / "workspace").glob("hearts/prod_*/hosp-B"))
    assert "hosp-B" in (installed / "disabled_clients.json").read_text()
    assert kits(hub).name == "prod_01"  # they refuse hosp-B already
    once_more = fedefm("retire", str(hub / "project.yml"), "hosp-B")
    assert "nothing was left to do" in once_more.output


def test_who_was_written_down_as_retired_and_no_more_gets_kits_that_refuse_them(hub: Path) -> None:
    path = hub / "project.yml"
    path.write_text(read_project(path).without("hosp-B").retiring("hosp-B").text)
    done = facts("retire", str(path), "hosp-B")
    assert "the server's new kit, which refuses them" in done["finished"]
    assert "hosp-B" in (kits(hub) / "localhost" / "disabled_clients.json").read_text()
    assert not (kits(hub) / "hosp-B").exists()


@pytest.mark.parametrize("broken", [7, {"submit_job": [None]}])
def test_rights_that_flare_cannot_read_are_a_problem_of_the_kit(hub: Path, broken: object) -> None:
    path = kits(hub) / "St-Marys" / "local" / "authorization.json"
    rights = json.loads(path.read_text())
    rights["permissions"]["lead"] = broken
    path.write_text(json.dumps(rights))
    result = fedefm("check", str(path.parent.parent))
    assert result.exit_code == 1
    assert "as a right, which FLARE cannot read" in result.output

"""Every way in which a kit can be wrong, and whether the check says so."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedefm.errors import ProvisionError
from provisioning.checking.checks import check_kit
from provisioning.finding import problem, summary, warning

DATASET = "datasets: {pretraining: {manifest: images/manifest.csv}}"
PEERS = f"\npeers: {{server: sha256:{64 * '0'}}}\n"


@pytest.fixture
def site(provisioned: Path, tmp_path: Path) -> Path:
    """A site's kit with its file filled in, to be spoiled."""
    kit = shutil.copytree(provisioned / "hosp-a", tmp_path / "hosp-a")
    path = kit / "local" / "fedefm_site.yaml"
    path.write_text(path.read_text().replace("datasets: {}", DATASET) + PEERS)
    return kit


@pytest.fixture
def server(provisioned: Path, tmp_path: Path) -> Path:
    return shutil.copytree(provisioned / "localhost", tmp_path / "localhost")


def wrong(kit: Path) -> dict[str, str]:
    """What was found by check: only what is not well."""
    return {f.check: f"{f.verdict}: {f.line}" for f in check_kit(kit).findings if f.verdict != "ok"}


def edit(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def spoil(kit: Path) -> None:
        path = kit / "local" / name
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return spoil


def write(name: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(kit: Path) -> None:
        path = kit / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return spoil


def streamer(data: Any) -> None:
    data["components"].append({"id": "site_log_streamer", "path": "x"})


def drop_gate(data: Any) -> None:
    data["scopes"][0]["task_result_filters"] = []


def inward_gate(data: Any) -> None:
    data["scopes"][0]["task_data_filters"][0]["direction"] = "in"


def second_scope(data: Any) -> None:
    data["scopes"].append({"name": "loose", "properties": {}})


def test_a_kit_whose_file_is_filled_in_is_well(site: Path, server: Path, provisioned: Path) -> None:
    assert wrong(site) == {}
    assert wrong(server) == {}
    assert wrong(provisioned / "lead@hub.org") == {}


def test_an_unedited_site_file_is_a_problem(provisioned: Path) -> None:
    found = wrong(provisioned / "hosp-a")
    assert set(found) == {"site file", "peers"}
    assert found["site file"].startswith("problem: it names no dataset")
    assert found["peers"].startswith("warning: ")  # a hospital may leave it so


@pytest.mark.parametrize(
    ("spoil", "check", "told"),
    [
        (lambda kit: (kit / "startup" / "client.key").chmod(0o640), "permissions", "others"),
        (lambda kit: (kit / "local" / "privacy.json").chmod(0o666), "permissions", "change"),
        (lambda kit: (kit / "local").chmod(0o755), "permissions", "look into"),
        (lambda kit: (kit / "local").chmod(0o777), "permissions", "others may change local"),
        (lambda kit: (kit / "startup").chmod(0o770), "permissions", "others may change startup"),
        (lambda kit: (kit / "local" / "privacy.json").unlink(), "files", "privacy.json"),
        (lambda kit: (kit / "local" / "fedefm_kit.json").unlink(), "versions", "missing"),
        (write("local/fedefm_kit.json", '"toolkit": "', '"toolkit": "9'), "versions", "made for"),
        (write("startup/fed_client.json", '"hosp-a"', '"hosp-b"'), "name", "'hosp-b'"),
        (write("startup/fed_client.json", '"mtls"', '"clear"'), "connection", "certificate"),
        (edit("resources.json", lambda d: d.update(allow_log_streaming=True)), "logs", "server"),
        (edit("resources.json", streamer), "logs", "server"),
        (
            edit("resources.json", lambda d: d["class_allow_list"].append("nvflare.")),
            "classes",
            "also build nvflare.",
        ),
        (edit("resources.json", lambda d: d["class_allow_list"].pop()), "classes", "may not"),
        (
            edit("resources.json", lambda d: d.update(class_list_enforcement_mode="warn")),
            "classes",
            "any class",
        ),
        (
            edit("authorization.json", lambda d: d["permissions"].update(project_admin="any")),
            "code",
            "project_admin",
        ),
        (edit("privacy.json", drop_gate), "gate", "unseen"),
        (edit("privacy.json", inward_gate), "gate", "unseen"),
        (edit("privacy.json", second_scope), "gate", "loose"),
        (edit("privacy.json", lambda d: d.pop("default_scope")), "gate", "no scope"),
        (
            edit("fedefm__p_resources.json", lambda d: d["components"].clear()),
            "budget guard",
            "asked",
        ),
        (
            write("local/fedefm_site.yaml", "require_dp: true", "require_dp: false"),
            "policy",
            "diff",
        ),
        (write("local/fedefm_site.yaml", "_cap: 8.0", "_cap: 80"), "policy", "80"),
        (write("local/fedefm_site.yaml", "policy:", "polic:"), "site file", "polic"),
        (write("local/fedefm_site.yaml", "/var/lib/fedefm/l", "l"), "ledger", "inside the kit"),
        (
            lambda kit: (kit / "local" / "x__j_resources.json").write_text("{}"),
            "additions",
            "x__j_resources.json",
        ),
        (lambda kit: (kit / "local" / "custom").mkdir(), "additions", "code"),
    ],
)
def test_what_is_wrong_at_a_site_is_found_and_told(site: Path, spoil, check, told) -> None:
    spoil(site)
    found = wrong(site)
    assert check in found, found
    assert told in found[check]


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (write("local/resources.json", "{$FEDEFM_KIT}/jobs", "/tmp/nvflare/jobs"), "stores"),
        (write("startup/sub_start.sh", "export FEDEFM_KIT=", "FEDEFM="), "stores"),
        (
            write("local/resources.json", '"heart_beat_timeout": 60', '"heart_beat_timeout": 600'),
            "heartbeat",
        ),
    ],
)
def test_what_is_wrong_at_the_server_is_found(server: Path, spoil, check) -> None:
    spoil(server)
    assert check in wrong(server)


def test_anothers_key_is_found(site: Path, provisioned: Path) -> None:
    shutil.copy(provisioned / "lead@hub.org" / "startup" / "client.key", site / "startup")
    assert "client.key is not hosp-a's" in wrong(site)["certificate"]


def test_a_root_that_did_not_sign_is_found(site: Path, provisioned: Path) -> None:
    shutil.copy(
        provisioned / "localhost" / "startup" / "server.crt", site / "startup" / "rootCA.pem"
    )
    assert "not signed by rootCA.pem" in wrong(site)["certificate"]


def test_who_may_do_what_is_told(site: Path) -> None:
    rights = check_kit(site).rights
    assert {role for role, of in rights.items() if of["submit_job"] != "no"} == {"lead"}
    assert {of["byoc"] for of in rights.values()} == {"no"}


def test_a_folder_that_is_no_kit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="is no kit"):
        check_kit(tmp_path)


@pytest.mark.parametrize(
    ("problems", "warnings", "told"),
    [(1, 0, "1 problem, 0 warnings"), (2, 1, "2 problems, 1 warning")],
)
def test_problems_and_warnings_are_counted_as_people_say_it(
    problems: int, warnings: int, told: str
) -> None:
    found = [problem("a", "b")] * problems + [warning("a", "b")] * warnings
    assert summary(found) == told


NO_SETTINGS = ("", "{}", "[]", "null", '"x"', "{", '{"client": 1}')


@pytest.mark.parametrize("text", NO_SETTINGS)
@pytest.mark.parametrize("role", ["site", "server", "person"])
def test_flares_settings_that_are_none_are_told_once_with_where_they_come_from(
    provisioned: Path, tmp_path: Path, role: str, text: str
) -> None:
    name, file = {
        "site": ("hosp-a", "fed_client.json"),
        "server": ("localhost", "fed_server.json"),
        "person": ("lead@hub.org", "fed_admin.json"),
    }[role]
    kit = shutil.copytree(provisioned / name, tmp_path / name)
    (kit / "startup" / file).write_text(text)
    about = [f for f in check_kit(kit).findings if file in f.said]
    if role == "site" or text not in ("{}", '{"client": 1}'):
        (told,) = about
        assert told.verdict == "problem"
        assert "as it was handed out" in told.fix


@pytest.mark.parametrize(
    "name", ["client.crt", "client.key", "rootCA.pem", "start.sh", "sub_start.sh"]
)
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("")])
def test_a_file_of_startup_that_is_gone_is_told_once_and_never_to_be_hardened(
    site: Path, name: str, spoil: Callable[[Path], object]
) -> None:
    spoil(site / "startup" / name)
    (told,) = [f for f in check_kit(site).findings if f.verdict != "ok"]
    assert name in told.said
    assert "harden" not in told.fix
    assert "rotate" in told.fix


@pytest.mark.parametrize(
    "name",
    ["resources.json", "authorization.json", "privacy.json", "fedefm__p_resources.json"],
)
@pytest.mark.parametrize("text", [None, "", "[]", "{", "{}"])
def test_a_broken_file_of_local_is_told_once(site: Path, name: str, text: str | None) -> None:
    path = site / "local" / name
    path.unlink() if text is None else path.write_text(text)
    found = [f for f in check_kit(site).findings if f.verdict != "ok"]
    assert name in found[0].said
    assert len(found) == 1


@pytest.mark.parametrize(
    "drop",
    [
        lambda data: data.pop("format_version"),
        lambda data: data["components"].pop(),
        lambda data: data["components"][0].pop("args"),
    ],
)
def test_what_is_missing_is_to_be_put_back_and_not_taken_out(site: Path, drop) -> None:
    edit("resources.json", drop)(site)
    missing = [f for f in check_kit(site).findings if f.check == "as made"]
    assert missing
    assert all(f.fix.startswith("put it back") for f in missing)

"""Whatever a kit's settings let FLARE build or permit beyond a new kit's, the check tells it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioning.checking.checks import check_kit
from provisioning.kit_files import PARENT_COMPONENTS, PARENT_FILE

FOREIGN = {"id": "helper", "path": "colleague.tools.Helper", "args": {}}
PARENT = f"local/{PARENT_FILE}"
Change = Callable[[Any], Any]


@pytest.fixture
def site(provisioned: Path, tmp_path: Path) -> Path:
    return shutil.copytree(provisioned / "hosp-a", tmp_path / "hosp-a")


@pytest.fixture
def server(provisioned: Path, tmp_path: Path) -> Path:
    return shutil.copytree(provisioned / "localhost", tmp_path / "localhost")


def spoil(kit: Path, name: str, change: Change) -> None:
    """Change a file of settings; one that is not there begins as FLARE's default."""
    path = kit / name
    source = path if path.exists() else path.with_name(f"{path.name}.default")
    data = json.loads(source.read_text())
    change(data)
    path.write_text(json.dumps(data))


def told(kit: Path, verdict: str) -> list[str]:
    """What was found, but for the site file, which nobody has filled in."""
    found = [each for each in check_kit(kit).findings if each.check not in ("site file", "peers")]
    return [f"{each.check}: {each.line}" for each in found if each.verdict == verdict]


def without(name: str) -> Change:
    def change(data: Any) -> None:
        data["components"] = [each for each in data["components"] if each["id"] != name]

    return change


def component(name: str, /, **changed: Any) -> Change:
    def change(data: Any) -> None:
        (one,) = [each for each in data["components"] if each["id"] == name]
        one.update(changed)

    return change


def args_of(name: str, /, **changed: Any) -> Change:
    def change(data: Any) -> None:
        (one,) = [each for each in data["components"] if each["id"] == name]
        one["args"].update(changed)

    return change


def also(**more: Any) -> Change:
    return lambda data: data["components"].append({**FOREIGN, **more})


def may(role: str, right: str, who: Any = "any") -> Change:
    return lambda data: data["permissions"][role].update({right: who})


def test_a_new_kit_has_nothing_to_tell(site: Path, server: Path) -> None:
    for kit in (site, server):
        assert told(kit, "problem") == told(kit, "warning") == []


RESOURCES, RIGHTS = "local/resources.json", "local/authorization.json"
PRIVACY, LOGS = "local/privacy.json", "local/log_config.json"
STREAMER = "nvflare.app_common.logging.site_log_streamer.SiteLogStreamer"
FORMATTER = {"()": "colleague.tools.Formatter"}


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (RESOURCES, also(), "also has 'helper', of class 'colleague.tools.Helper'"),
        (RESOURCES, also(id="quiet", path=STREAMER), "SiteLogStreamer"),
        (RESOURCES, also(id="resource_manager"), "has 2 times resource_manager"),
        (RESOURCES, component("resource_manager", path="x.Y"), "'x.Y'"),
        (RESOURCES, component("resource_consumer", path="x.Y"), "'x.Y'"),
        (RESOURCES, component("process_launcher", path="x.Y"), "'x.Y'"),
        (RESOURCES, component("process_launcher", disabled=True), "disabled"),
        (RESOURCES, component("process_launcher", name="Y"), "process_launcher.name"),
        (RESOURCES, args_of("resource_manager", a={"path": "x.Y"}), "x.Y"),
        (RESOURCES, without("resource_manager"), "has no resource_manager"),
        (RESOURCES, lambda data: data.update(app_validator=FOREIGN), "app_validator"),
        (PARENT, lambda data: data.update(app_validator=FOREIGN), "app_validator"),
        (PARENT, also(), "helper"),
        (PARENT, also(**PARENT_COMPONENTS[-1]), "2 times"),
        (PARENT, also(id="app_deployer"), "has 2 times app_deployer"),
        (PRIVACY, lambda data: data["scopes"].append(data["scopes"][0]), "two scopes"),
        (
            PRIVACY,
            lambda data: data["scopes"][0]["task_result_filters"].append({"path": "x.Y"}),
            "other filters than the gate",
        ),
        (PRIVACY, lambda data: data.update(components=[FOREIGN]), "also has components"),
        (LOGS, lambda data: data["formatters"].update(x=FORMATTER), "colleague.tools.Formatter"),
        (
            LOGS,
            lambda data: data["handlers"].update(x={"class": "logging.handlers.HTTPHandler"}),
            "HTTPHandler",
        ),
        (LOGS, lambda data: data["handlers"].update(x={"stream": "ext://os.system"}), "os.system"),
        (RIGHTS, may("lead", "operate"), "lead may operate (yes)"),
        (RIGHTS, may("lead", "shutdown"), "lead may shutdown (yes)"),
        (RIGHTS, may("lead", "manage_job"), "lead may manage_job (yes)"),
        (RIGHTS, may("member", "submit_job", "n:submitter"), "member may submit_job (own)"),
        (RIGHTS, lambda data: data["permissions"].update(super="any"), "'super' is no role"),
        (RIGHTS, lambda data: data["permissions"].update(member="any"), "member may submit_job"),
        ("startup/fed_client.json", lambda data: data.update(components=[FOREIGN]), "components"),
    ],
)
def test_what_could_run_or_be_done_at_a_site_is_a_problem(site: Path, file, change, said) -> None:
    spoil(site, file, change)
    found = told(site, "problem")
    assert any(said in each for each in found), found


@pytest.mark.parametrize("name", [each["id"] for each in PARENT_COMPONENTS])
def test_each_guard_of_a_site_is_missed(site: Path, name: str) -> None:
    spoil(site, PARENT, without(str(name)))
    assert any(f"has no {name}" in each for each in told(site, "problem"))


@pytest.mark.parametrize("name", [each["id"] for each in PARENT_COMPONENTS])
def test_a_guard_of_another_class_is_a_problem(site: Path, name: str) -> None:
    spoil(site, PARENT, component(str(name), path="colleague.tools.Guard"))
    assert any("colleague.tools.Guard" in each for each in told(site, "problem"))


@pytest.mark.parametrize(
    "name",
    [
        "local/x__resources.json",
        "local/x__p_resources.json",
        "local/x__j_resources.json",
        "local/job_resources.json",
        "startup/x__resources.json",
    ],
)
def test_a_further_file_that_flare_builds_from_is_a_problem(site: Path, name: str) -> None:
    (site / name).write_text("{}")
    assert any(Path(name).name in each for each in told(site, "problem"))


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (PARENT, lambda data: data.pop("app_validator"), "app_validator is missing"),
        (PARENT, lambda data: data["app_validator"].update(path="x.Y"), "'x.Y'"),
        (PARENT, without("made_for"), "has no made_for"),
        (PARENT, also(), "helper"),
        (RESOURCES, also(), "helper"),
        (RESOURCES, lambda data: data["snapshot_persistor"].update(path="x.Y"), "'x.Y'"),
        (
            RESOURCES,
            lambda data: data["snapshot_persistor"]["args"]["storage"].update(path="x.Y"),
            "'x.Y'",
        ),
        (RIGHTS, may("member", "submit_job"), "member may submit_job (yes)"),
        (RIGHTS, may("member", "clone_job"), "member may clone_job (yes)"),
        (RIGHTS, may("member", "download_job"), "member may download_job (yes)"),
    ],
)
def test_what_could_run_or_be_done_at_the_server_is_a_problem(
    server: Path, file, change, said
) -> None:
    spoil(server, file, change)
    found = told(server, "problem")
    assert any(said in each for each in found), found


def test_a_default_that_was_changed_is_nothing_to_go_by(site: Path) -> None:
    for name in (RESOURCES, f"{RESOURCES}.default"):
        spoil(site, name, also())
    assert any("colleague.tools.Helper" in each for each in told(site, "problem"))
    (site / f"{RESOURCES}.default").unlink()
    assert any("nothing can be compared" in each for each in told(site, "problem"))


@pytest.mark.parametrize(
    "change",
    [
        args_of("resource_manager", num_of_gpus=2),
        lambda data: data["client"].update(retry_timeout=9),
    ],
)
def test_other_numbers_are_the_sites_own_matter(site: Path, change: Change) -> None:
    spoil(site, RESOURCES, change)
    assert told(site, "problem") == []
    (line,) = told(site, "warning")
    assert "not" in line


def test_fewer_rights_and_people_who_were_retired_are_no_matter(site: Path) -> None:
    spoil(site, RIGHTS, may("lead", "download_job", "none"))
    spoil(site, RIGHTS, may("lead", "submit_job", ["any", "not n:ann@uni.org"]))
    spoil(site, RIGHTS, lambda data: data["permissions"].pop("org_admin"))
    assert told(site, "problem") == told(site, "warning") == []


@pytest.mark.parametrize("folder", [".", "startup", "local"])
def test_a_folder_that_others_may_look_into_is_told(site: Path, folder: str) -> None:
    (site / folder).chmod(0o755)
    (line,) = told(site, "warning")
    assert "others may look into" in line

"""What `nvflare provision` makes of our project file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fedefm.config import read_site
from fedefm.errors import ConfigError
from fedefm.train.assemble import find_manifest
from provisioning.certificates import read_certificate
from provisioning.made_for import refuse_other_versions
from provisioning.making import make_project
from provisioning.project import project

PROVISION = "import sys; from nvflare.cli import main; sys.exit(main())"


def run_provision(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """As a hub's IT runs it, with the usual umask of many machines."""
    return subprocess.run(
        [sys.executable, "-c", PROVISION, "provision", "-p", "project.yml", *options],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        umask=0o022,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project's workspace with its kits."""
    folder = tmp_path_factory.mktemp("hub") / "hearts"
    wanted = project(
        *("hearts", "localhost", 8103, ["St. Mary's", "hosp-B"]),
        *(["ann@uni.org"], ["omar@uni.org"], ["ida@uni.org"], 100, 1000),
    )
    make_project(wanted, folder)
    done = run_provision(folder)
    assert done.returncode == 0, done.stderr
    return folder / "workspace" / "hearts"


@pytest.fixture
def kits(made: Path) -> Path:
    return made / "prod_00"


def read(path: Path):
    return json.loads(path.read_text())


def test_nobody_else_can_reach_a_key(made: Path):
    assert made.stat().st_mode & 0o077 == 0
    for path in [
        made / "state",
        made / "state" / "cert.json",
        *made.glob("prod_00/*/startup/*.key"),
    ]:
        assert path.stat().st_mode & 0o077 == 0, path
    for folder in made.glob("prod_00/*"):
        assert (folder / "local").stat().st_mode & 0o077 == 0, folder


def test_certificates_last_as_long_as_was_chosen(kits: Path):
    root = read_certificate(kits / "hosp-B" / "startup" / "rootCA.pem")
    assert (root.ends - root.begins).days == 1000
    for path in kits.glob("*/startup/*.crt"):
        certificate = read_certificate(path)
        assert (certificate.ends - certificate.begins).days == 100
        assert certificate.signed_by(root)


@pytest.mark.parametrize("name", ["localhost", "St-Marys", "ann@uni.org"])
def test_a_kit_says_for_what_it_was_made(kits: Path, name: str):
    refuse_other_versions(kits / name)
    stamp = read(kits / name / "local" / "fedefm_kit.json")
    assert stamp["role"] == {"localhost": "server", "St-Marys": "site"}.get(name, "person")


def test_sites_stream_no_logs_and_let_out_nothing_past_the_gate(kits: Path):
    local = kits / "St-Marys" / "local"
    resources, privacy = read(local / "resources.json"), read(local / "privacy.json")
    assert resources["allow_log_streaming"] is False
    assert not {"site_log_streamer"} & {one["id"] for one in resources["components"]}
    (scope,) = privacy["scopes"]
    assert privacy["default_scope"] == scope["name"]
    for what in ("task_data_filters", "task_result_filters"):
        assert [one["direction"] for one in scope[what]] == ["out"]


def test_the_server_keeps_everything_in_its_own_folder(kits: Path):
    local = kits / "localhost" / "local"
    assert "/tmp" not in (local / "resources.json").read_text()
    assert read(local / "resources.json")["servers"][0]["heart_beat_timeout"] == 60
    script = (kits / "localhost" / "startup" / "sub_start.sh").read_text()
    assert script.index('export FEDEFM_KIT="$WORKSPACE"') < script.index("start_python() {")
    receivers = [one["id"] for one in read(local / "resources.json")["components"]]
    assert "log_receiver" not in receivers


def test_a_new_site_file_is_strict_and_gives_nothing_yet(kits: Path):
    site = read_site(kits / "St-Marys" / "local" / "fedefm_site.yaml")
    assert site.datasets == {}
    assert site.policy.require_dp
    assert site.policy.require_encryption
    assert site.policy.epsilon_cap is not None
    assert site.ledger is not None
    assert site.ledger_witness is not None
    assert site.ledger.parent != site.ledger_witness.parent


def test_a_job_at_a_site_that_has_edited_nothing_is_refused_with_a_sentence(kits: Path):
    with pytest.raises(ConfigError, match="knows none; the site's owner can add it"):
        find_manifest(kits / "St-Marys" / "local" / "fedefm_site.yaml", "pretraining")


def test_what_stands_there_to_copy_is_right_too(kits: Path, tmp_path: Path):
    """The lines about a dataset, without their comment signs."""
    lines = (kits / "St-Marys" / "local" / "fedefm_site.yaml").read_text().splitlines()
    start = lines.index("# datasets:")
    shown = [line[2:] for line in lines[start : start + 5]]
    rest = [line for line in lines if line != "datasets: {}"]
    path = tmp_path / "fedefm_site.yaml"
    path.write_text("\n".join([*rest, *shown]))
    assert read_site(path).datasets["pretraining"].patients == 1200


def test_a_workspace_that_was_opened_to_others_makes_no_more_kits(made: Path):
    made.chmod(0o755)
    try:
        done = run_provision(made.parents[1], "--force")
    finally:
        made.chmod(0o700)
    assert done.returncode != 0
    assert "may be read by others" in done.stdout + done.stderr
    assert not (made / "prod_01").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data["participants"][-1].update(role="super"), "role 'super'"),
        (lambda data: data["builders"][-1]["args"].update(retired=["hosp-B"]), "is retired"),
        (lambda data: data["builders"][-1]["args"].update(retired=[None]), "quote the names"),
        (lambda data: data["builders"][2]["args"].update(valid_days=0), "number of days"),
    ],
)
def test_what_would_undo_our_rules_makes_no_kits(made: Path, tmp_path: Path, change, told):
    data = yaml.safe_load((made.parents[1] / "project.yml").read_text())
    change(data)
    (tmp_path / "project.yml").write_text(yaml.safe_dump(data))
    done = run_provision(tmp_path)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr
    assert not list(tmp_path.glob("workspace/hearts/prod_*"))


def test_flare_makes_kits_of_names_that_yaml_takes_for_something_else(tmp_path: Path):
    names = ["null", "yes", "12"]
    people = (["ann@uni.org"], ["omar@uni.org"], ["ida@uni.org"])
    make_project(project("on", "10", 8103, names, *people), tmp_path / "on")
    done = run_provision(tmp_path / "on")
    assert done.returncode == 0, done.stdout + done.stderr
    made = tmp_path / "on" / "workspace" / "on" / "prod_00"
    for name, file in (("10", "server.crt"), *((name, "client.crt") for name in names)):
        assert read_certificate(made / name / "startup" / file).name == name

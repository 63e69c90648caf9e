"""What the command line loads: libraries that take seconds only where a command works with them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nvflare_jobs.cli import app
from privacy.ledger import Ledger
from provisioning.project_edit import read_project
from provisioning.workspace import Workspace, make_kits

HEAVY = ["torch", "matplotlib", "scipy", "pydicom", "ot", "opacus", "nvflare", "dp_accounting"]

HELP_OF_ALL = """
import json, sys
from typer.main import get_command
from typer.testing import CliRunner
from nvflare_jobs.cli import app

def paths(command, path=()):
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from paths(child, (*path, name))

every = list(paths(get_command(app)))
codes = {" ".join(path): CliRunner().invoke(app, [*path, "--help"]).exit_code for path in every}
print(json.dumps({"codes": codes, "loaded": list(sys.modules)}))
"""

ONE_COMMAND = """
import json, sys
from nvflare_jobs.cli import main
try:
    main()
    code = 0
except SystemExit as ended:
    code = ended.code
print(json.dumps({"code": code, "loaded": list(sys.modules)}))
"""


def in_a_fresh_process(code: str, *arguments: str) -> dict:
    """What ``code`` prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def heavy(loaded: list[str]) -> list[str]:
    return [name for name in HEAVY if name in loaded]


def test_the_help_of_every_command_loads_no_heavy_library() -> None:
    told = in_a_fresh_process(HELP_OF_ALL)
    assert {"", "run", "demo", "job status", "privacy probe", "data split"} <= told["codes"].keys()
    assert set(told["codes"].values()) == {0}
    assert "nvflare_jobs.commands.finetune" in told["loaded"]
    assert heavy(told["loaded"]) == []


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A site file with a ledger that has begun, and a hospital's kit."""
    hospital, hub = tmp_path_factory.mktemp("hospital"), tmp_path_factory.mktemp("hub") / "hearts"
    site_file = hospital / "fedefm_site.yaml"
    site_file.write_text("datasets: {}\nledger: ledger.sqlite\n", encoding="utf-8")
    Ledger.open(hospital / "ledger.sqlite", "hosp-a").close()
    words = f"provision init --name hearts --server hub.org --site hosp-a --out {hub}"
    people = "--lead lead@hub.org --admin it@hub.org"
    assert CliRunner().invoke(app, f"{words} {people}".split()).exit_code == 0
    workspace = Workspace(hub / "workspace", "hearts")
    make_kits(read_project(hub / "project.yml"), workspace)
    kit = workspace.newest() / "hosp-a"
    return {"site_file": site_file, "kit": kit, "hub": hub, "empty": hospital}


@pytest.mark.parametrize(
    ("command", "ends_with"),
    [
        ("job status --help", 0),
        ("job status", 2),  # no kit is named
        ("provision check {kit}", 1),  # the hospital has not written its site file yet
        ("provision expiry {hub}", 0),
        ("privacy status {site_file}", 0),
        ("privacy ledger {site_file} --json", 0),
        ("privacy verify {site_file}", 0),
        ("run {empty}/run.yaml", 2),  # there is none
        ("finetune {empty}/absent.csv --scratch --steps 0 --out {empty}/out", 2),
        ("finetune {empty}/absent.csv --scratch --learning-rate nan --out {empty}/out", 2),
    ],
)
def test_looking_loads_no_heavy_library(
    command: str, ends_with: int, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDEFM_ADMIN_KIT", raising=False)
    told = in_a_fresh_process(ONE_COMMAND, *(word.format(**places) for word in command.split()))
    assert told["code"] == ends_with
    assert heavy(told["loaded"]) == []


@pytest.mark.parametrize(
    "modules",
    [
        "nvflare_jobs.admin.server, nvflare_jobs.admin.watching, nvflare_jobs.admin.job_list",
        "fedefm.data.site_folders, fedefm.topology.schedules",
        "fedefm.report.run_report",
    ],
)
def test_who_asks_a_server_or_divides_images_or_reports_needs_no_torch(modules: str) -> None:
    told = in_a_fresh_process(f"import json, sys, {modules}; print(json.dumps([*sys.modules]))")
    assert "fedefm.errors" in told
    assert "torch" not in told

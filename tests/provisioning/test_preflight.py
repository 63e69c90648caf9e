"""`fedefm provision preflight` in kits as they are provisioned, with a socket for the server."""

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from fedefm.data.manifest import Row, write_manifest
from fedefm.errors import ProvisionError
from nvflare_jobs.cli import app
from nvflare_jobs.preflight import preflight
from nvflare_jobs.site_checks.certificate import check_certificate, check_clock
from provisioning.address import read_address
from provisioning.certificates import read_certificate
from provisioning.finding import Finding
from provisioning.made_for import STAMP


@pytest.fixture
def site(kits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kit of a site whose owner has written the site file."""
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    data = tmp_path / "data"
    data.mkdir()
    rows = []
    for number in range(4):
        (data / f"{number}.pgm").write_bytes(b"P5 4 4 255\n" + bytes(range(16)))
        rows.append(Row(f"{number}.pgm", 0, f"secret-{number}", "chest", "", "", "train", ""))
    write_manifest(data / "manifest.csv", rows)
    (tmp_path / "ledger").mkdir()
    settings = {
        "datasets": {"pretraining": {"manifest": str(data / "manifest.csv")}},
        "ledger": str(tmp_path / "ledger" / "ledger.sqlite"),
        "policy": {"epsilon_cap": 8.0},
    }
    kit = kits / "hosp-a"
    (kit / "local" / "fedefm_site.yaml").write_text(yaml.safe_dump(settings))
    return kit


def change(kit: Path, **settings: object) -> None:
    path = kit / "local" / "fedefm_site.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}))


def about(check: str, kit: Path) -> Finding:
    """The worst finding on ``check``."""
    found = [finding for finding in preflight(kit) if finding.check == check]
    return max(found, key=lambda finding: ("ok", "warning", "problem").index(finding.verdict))


def told(*arguments: str):
    return CliRunner().invoke(app, ["provision", "preflight", *arguments])


def test_a_site_in_order_can_go(site, kits, listen):
    listen(read_address(site).port, kits / "localhost" / "startup")
    result = told(str(site), "--json")
    findings = json.loads(result.stdout)["findings"]
    assert [each for each in findings if each["verdict"] == "problem"] == []
    assert result.exit_code == 0
    assert {each["check"] for each in findings} >= {
        "versions",
        "certificate",
        "clock",
        "server",
        "site file",
        "dataset pretraining",
        "ledger",
        "witness",
        "policy",
        "disk",
        "memory",
        "gpu",
    }


def test_a_problem_is_one_line_with_its_fix_and_exit_code_one(site):
    result = told(str(site))
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("problem")]
    assert "cannot be reached" in line
    assert "; ask whether the server runs" in line
    assert result.exit_code == 1


def test_the_kit_is_the_folder_one_is_in_unless_it_is_named(site, monkeypatch):
    monkeypatch.chdir(site)
    assert json.loads(told("--json").stdout)["kit"] == str(site)


def test_the_servers_kit_is_checked_for_what_a_server_needs(kits):
    result = told(str(kits / "localhost"), "--json")
    assert result.exit_code == 0
    assert {each["check"] for each in json.loads(result.stdout)["findings"]} >= {
        "versions",
        "certificate",
        "server",
        "disk",
        "memory",
    }


def test_what_is_no_kit_is_an_error(tmp_path):
    assert isinstance(told(str(tmp_path)).exception, ProvisionError)


def test_no_patient_is_named(site):
    manifest = Path(yaml.safe_load((site / "local" / "fedefm_site.yaml").read_text())["datasets"]
                    ["pretraining"]["manifest"])  # fmt: skip
    manifest.write_text(manifest.read_text().replace("3.pgm", "gone.pgm"))
    result = told(str(site))
    assert "gone.pgm" in result.stdout
    assert "secret" not in result.stdout


def test_a_kit_for_another_release(site):
    stamp = site / "local" / STAMP
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "toolkit": "99.0.0"}))
    assert "made for fedefm 99.0.0" in about("versions", site).line


def test_a_certificate_of_somebody_else(site, stranger):
    for name in ("client.crt", "client.key"):
        (site / "startup" / name).write_bytes((stranger / "hosp-a/startup" / name).read_bytes())
    found = about("certificate", site)
    assert found.verdict == "problem"
    assert "was not issued by this project's root" in found.said


def test_a_key_that_others_can_read(site):
    key = site / "startup" / "client.key"
    key.chmod(0o644)
    assert f"chmod 600 {key}" in about("permissions", site).fix
    assert stat.S_IMODE(key.stat().st_mode) == 0o644  # looked at, and not changed


def test_a_gate_that_is_gone(site):
    path = site / "local" / "privacy.json"
    path.write_text(path.read_text().replace('"out"', '"in"'))
    assert about("gate", site).verdict == "problem"


def test_a_certificate_that_ends_soon_and_one_of_tomorrow(site):
    address = read_address(site)
    ends = read_certificate(address.certificate).ends
    soon = check_certificate(address, ends - timedelta(days=30))
    assert (soon.verdict, "in 30 days" in soon.said) == ("warning", True)
    yesterday = read_certificate(address.certificate).begins - timedelta(days=1)
    found = check_clock(address, yesterday)
    assert (found.verdict, "before this kit was made" in found.said) == ("problem", True)


def test_a_site_file_with_mistakes_or_none(site):
    path = site / "local" / "fedefm_site.yaml"
    path.write_text("datasets: {}\nledgr: x\n")
    assert "ledgr is not a known setting" in about("site file", site).said
    path.unlink()
    assert "does not exist" in about("site file", site).said


def test_a_mistake_in_the_site_file_is_told_as_such_and_says_what_was_not_looked_at(site):
    path = site / "local" / "fedefm_site.yaml"
    path.write_text("datasets: {}\nledgr: x\n")
    assert about("certificate", site).verdict == "ok"
    assert about("disk", site).verdict in ("ok", "warning")
    for check in ("datasets", "ledger", "policy", "memory", "gpu"):
        assert "not looked at, since the site file" in about(check, site).said


def test_nothing_is_changed(site):
    def files() -> dict[Path, int]:
        places = [site, site.parent.parent / "ledger"]
        return {p: p.stat().st_mtime_ns for place in places for p in place.rglob("*")}

    before = files()
    preflight(site)
    assert files() == before


def test_a_policy_that_refuses_every_run(site):
    change(site, ledger=None)
    found = about("policy", site)
    assert (found.verdict, "epsilon_cap is set and there is no ledger" in found.said) == (
        "problem",
        True,
    )


def test_a_delta_that_the_manifest_has_too_many_patients_for(site):
    change(site, policy={"epsilon_cap": 8.0, "delta": 0.5})
    found = about("policy", site)
    assert found.verdict == "problem"
    assert "delta 0.5 is above one over the 4 patients of 'pretraining'" in found.said

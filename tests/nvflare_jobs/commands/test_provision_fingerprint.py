"""The fingerprint that others pin is that of the kit's certificate, as openssl prints it."""

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedefm.errors import ProvisionError
from nvflare_jobs.cli import app
from privacy.identity import ThrowAwayRoot


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    root = ThrowAwayRoot()
    root.issue("hosp-a")
    root.save(tmp_path)
    return tmp_path / "hosp-a"


def test_a_kit_and_its_certificate_have_one_fingerprint(kit: Path) -> None:
    certificate = kit / "client.crt"
    told = [
        CliRunner().invoke(app, ["provision", "fingerprint", str(p)]) for p in (kit, certificate)
    ]
    assert {each.exit_code for each in told} == {0}
    assert told[0].output == told[1].output
    said = subprocess.run(
        ["openssl", "x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha256"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    digits = said.strip().split("=")[1].replace(":", "").lower()
    assert told[0].output == f"sha256:{digits}\n"


def test_scripts_read_it_as_json(kit: Path) -> None:
    told = CliRunner().invoke(app, ["provision", "fingerprint", str(kit), "--json"])
    assert json.loads(told.output)["fingerprint"].startswith("sha256:")


def test_a_folder_that_is_no_kit_is_named(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["provision", "fingerprint", str(tmp_path)])
    assert told.exit_code != 0
    assert isinstance(told.exception, ProvisionError)
    assert str(tmp_path) in str(told.exception)

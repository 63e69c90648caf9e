"""The guide for private keys that never leave the hospital: every command in it, in its order."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from provisioning.certificates import key_fits, read_certificate
from provisioning.checking.checks import check_kit
from provisioning.expiry import terms
from provisioning.kit_files import refused_at
from provisioning.project_edit import read_project

GUIDE = Path(__file__).parents[2] / "docs" / "keys-stay-at-home.md"
STEP = re.compile(
    r"<!-- send: (?P<file>\S+) (?P<to>\S+) -->"
    r"|<!-- at: (?P<at>[^\s;]+)(?:; ends with: (?P<code>\d+))? -->\n```bash\n(?P<commands>.*?)```",
    re.DOTALL,
)
KITS = {"server": "localhost", "st-marys": "St-Marys-Hospital", "ida": "ida@uni.org"}

pytestmark = pytest.mark.xdist_group("keys at home")  # the guide is followed once


def kit(place: Path, who: str) -> Path:
    return place / who / "kits" / "hearts" / "prod_00" / KITS[who]


def steps(guide: str) -> Iterator[re.Match[str]]:
    yield from STEP.finditer(guide)


def run(commands: str, code: int, folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", commands],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, f"{commands}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each participant in which the guide was followed to its end."""
    place = tmp_path_factory.mktemp("keys")
    for name in ("hub", *KITS):
        (place / name).mkdir()
    binaries = Path(sys.executable).parent
    environment = {"PATH": f"{binaries}:/usr/bin:/bin", "HOME": str(place / "home")}
    for step in steps(GUIDE.read_text(encoding="utf-8")):
        if step["file"]:
            shutil.copy(place / step["file"], place / step["to"])
            continue
        said = run(step["commands"], int(step["code"] or 0), place / step["at"], environment)
        if "rootCA_fingerprint" in step["commands"]:
            environment["FINGERPRINT"] = said.strip()
    return place


def test_no_command_of_the_guide_is_left_out() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    blocks = [step for step in steps(guide) if step["commands"]]
    assert len(blocks) == guide.count("```bash") > 10


def test_no_private_key_was_anywhere_but_with_its_owner(followed: Path) -> None:
    keys = [path for path in followed.rglob("*") if path.is_file() and _is_key(path)]
    at_hub = [path for path in keys if path.is_relative_to(followed / "hub")]
    assert at_hub == [followed / "hub" / "hearts" / "ca" / "rootCA.key"]
    for path in keys:
        assert path.stat().st_mode & 0o077 == 0, path
    fingerprints = {_public(path) for path in keys}
    owners = {_public(path): path.relative_to(followed).parts[0] for path in keys}
    for path in keys:
        assert owners[_public(path)] == path.relative_to(followed).parts[0]
    assert len(fingerprints) >= 4  # the root, the server, the hospital, and a person


@pytest.mark.parametrize("who", KITS)
def test_its_kits_are_as_strict_as_others(followed: Path, who: str) -> None:
    checked = check_kit(kit(followed, who))
    wrong = [finding.line for finding in checked.findings if finding.verdict == "problem"]
    assert len(wrong) == (1 if who == "st-marys" else 0), wrong
    assert all("names no dataset" in line for line in wrong)


def test_the_new_certificate_is_another_one_that_the_same_root_signed(followed: Path) -> None:
    startup = kit(followed, "st-marys") / "startup"
    certificate = read_certificate(startup / "client.crt")
    assert certificate.signed_by(read_certificate(followed / "hub/hearts/ca/rootCA.pem"))
    assert key_fits(certificate, startup / "client.key")
    assert key_fits(certificate, followed / "st-marys/St-Marys-Hospital/St-Marys-Hospital.key")
    assert certificate.days_left() in (364, 365)


def test_the_hospitals_own_file_came_through_a_new_certificate(followed: Path) -> None:
    local = kit(followed, "st-marys") / "local"
    kept = (followed / "st-marys" / "fedefm_site.yaml").read_text()
    assert (local / "fedefm_site.yaml").read_text() == kept
    assert json.loads((local / "fedefm_kit.json").read_text())["role"] == "site"


def test_the_server_refuses_who_left_and_the_others_join_with_a_file(followed: Path) -> None:
    assert refused_at(kit(followed, "server")) == {"Lake-Clinic", "bo@uni.org"}
    project = read_project(followed / "hub" / "hearts" / "project.yml")
    assert project.retired == ["Lake-Clinic", "bo@uni.org"]
    assert not {"Lake-Clinic", "bo@uni.org"} & set(project.types)


def test_the_hub_sees_when_all_that_it_signed_ends(followed: Path) -> None:
    found = {term.whose: (term.kind, term.days_left) for term in terms([followed / "hub/hearts"])}
    assert found.pop("hearts") == ("root", 3649)
    assert {name: kind for name, (kind, _) in found.items()} == {
        "St-Marys-Hospital": "site",
        "localhost": "server",
        "ida@uni.org": "org_admin",
    }
    assert {days for _, days in found.values()} <= {364, 365}


def _is_key(path: Path) -> bool:
    return b"PRIVATE KEY-----" in path.read_bytes()


def _public(path: Path) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key(path.read_bytes(), password=None).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

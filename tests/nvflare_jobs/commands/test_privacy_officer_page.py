"""docs/privacy-officer.md: each command is run in its order, and what the page says is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import privacy.ledger
from fedefm.config import read_site
from fedefm.data.manifest import Row, write_manifest
from nvflare_jobs import cli
from privacy.ledger import Budget, Dataset, Ledger, RunLabel, verify
from privacy.mechanism import Mechanism
from privacy.report.meaning import found_at_most

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "privacy-officer.md").read_text("utf-8")
STEP = Mechanism(1.4, 32 / 1200, 1200, 61)
PATIENTS = Dataset("angiography-patients", "patient")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if line]


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files as the page shows them, after a finished run and one that died."""
    (tmp_path / "privacy").mkdir()
    (tmp_path / "witness").mkdir()
    kit = tmp_path / "local"
    kit.mkdir()
    (site_file,) = blocks("text")
    (kit / "fedefm_site.yaml").write_text(site_file, encoding="utf-8")
    (run_file,) = blocks("yaml")
    (tmp_path / "run.yaml").write_text(run_file, encoding="utf-8")
    (kit / "0.png").write_bytes(b"never opened")
    write_manifest(kit / "manifest.csv", [Row("0.png", 0, "secret", "phantom", split="train")])
    spend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spend(folder: Path) -> None:
    path, witness = folder / "privacy" / "ledger.sqlite", folder / "witness" / "head.json"
    budget = Budget(6.0, 1e-5, "add_or_remove_one")
    with Ledger.open(path, "hosp-a", witness) as ledger:
        done = ledger.plan(PATIENTS, RunLabel("00aa", "first", "4ac2"), STEP, 60, budget)
        done.settle(done.reserve(50), 50)
        done.close()
        dead = ledger.plan(PATIENTS, RunLabel("5f0c9a31b7e2", "second"), STEP, 40, budget)
        dead.reserve(10)
        head = ledger.head()
    (folder / "remembered-head.txt").write_text(f"{head.sequence}:{head.hash}\n", "utf-8")


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line of a block: words as bash makes them; fedefm runs in this process."""
    if not line.startswith("fedefm "):
        subprocess.run(["bash", "-euc", line], check=True)
        return
    words = subprocess.run(
        ["bash", "-euc", f"printf '%s\\0' {line}"], check=True, capture_output=True, text=True
    ).stdout.split("\0")[:-1]
    if words[2] == "refund":
        words.append("--yes")  # nobody is there to be asked
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code, line


def test_every_command_of_the_page_runs_in_its_order(office, monkeypatch, capsys):
    for line in commands():
        run(line, monkeypatch)
    told = capsys.readouterr().out
    assert "it fits" in told
    assert "gave back 40 steps of run 'second'" in told
    assert "is in order" in told
    assert "secret" not in told
    assert (office / "reports" / "2026" / "privacy.html").exists()
    assert (office / "reports" / "certificate.json").exists()


def test_the_page_shows_every_command_of_the_officer():
    shown = {line.split()[2] for line in commands() if line.startswith("fedefm ")}
    assert shown == {"status", "ledger", "what-if", "probe", "verify", "report", "refund"}


def test_the_backup_of_the_page_verifies(office, monkeypatch):
    for line in blocks("bash")[-1].splitlines():
        run(line, monkeypatch)
    assert verify(office / "backup" / "ledger.sqlite", "hosp-a", office / "witness/head.json") == []


def test_the_site_file_of_the_page_sets_what_the_page_says(office):
    site = read_site(office / "local" / "fedefm_site.yaml")
    assert (site.policy.epsilon_cap, site.policy.require_dp) == (6.0, True)
    assert site.datasets["pretraining"].budget == PATIENTS.name
    assert yaml.safe_load((office / "run.yaml").read_text("utf-8"))["privacy"]["dp"]["epsilon"] == 2


def test_the_table_of_epsilons_is_what_the_definition_gives():
    rows = re.findall(r"^\| ([\d.]+) \| (more than )?([\d.]+) % \|$", PAGE, re.M)
    assert len(rows) == 7
    for epsilon, more, percent in rows:
        bound = 100 * found_at_most(float(epsilon), 0.0)
        if more:
            assert bound > float(percent)
        else:
            assert float(percent) == pytest.approx(bound, rel=0.005)


def test_every_refusal_of_the_page_is_one_that_the_ledger_says():
    said = re.findall(r"^\| `([^`]+)` \|", PAGE, re.M)
    assert len(said) >= 10
    folder = Path(privacy.ledger.__file__).parent
    code = "".join(path.read_text("utf-8") for path in sorted(folder.glob("*.py")))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # sentences that go over several lines
    assert [words for words in said if words not in code and words != "the disk is full"] == []
    assert "the disk is full" in code

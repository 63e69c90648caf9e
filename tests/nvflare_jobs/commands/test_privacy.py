"""`fedefm privacy` as an officer meets it: what it prints, how it ends, what it leaves."""

import csv
import io
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from fedefm.data.manifest import Row, write_manifest
from nvflare_jobs import cli
from privacy.accountant import epsilon
from privacy.ledger import Budget, Dataset, Ledger, RunLabel
from privacy.mechanism import Mechanism, together

PATIENTS = Dataset("pretraining", "patient")
STEP = Mechanism(1.5, 0.1, 40, 24)
BUDGET = Budget(6.0, 1e-3, "add_or_remove_one")
COMMANDS = ("status", "ledger", "verify", "what-if", "report", "refund")


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the console script on ``fedefm privacy ...``, with ``answer`` on its standard input."""

    def command(*arguments: str | Path, answer: str = "") -> Result:
        monkeypatch.setattr(sys, "argv", ["fedefm", "privacy", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Result(int(ended.value.code or 0), printed.out, printed.err)

    return command


def write_site(folder: Path, **changes: object) -> Path:
    """A site file with a ledger; ``changes`` of its top level, None to leave a key out."""
    settings = {
        "datasets": {"pretraining": {"manifest": "manifest.csv"}},
        "policy": {"epsilon_cap": 6.0, "delta": 1e-3},
        "ledger": "ledger.sqlite",
        "ledger_witness": "elsewhere/head.json",
    } | changes
    folder.mkdir(exist_ok=True)
    (folder / "elsewhere").mkdir(exist_ok=True)
    kept = {name: value for name, value in settings.items() if value is not None}
    (folder / "fedefm_site.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    return folder / "fedefm_site.yaml"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The site file of hosp-a, before any private run."""
    return write_site(tmp_path / "hosp-a")


@pytest.fixture
def spent(site: Path) -> Path:
    """The same after one finished run and one that died in its second fit."""
    with open_ledger(site) as ledger:
        done = ledger.plan(PATIENTS, RunLabel("id-1", "ring", "job-7"), STEP, 12, BUDGET)
        done.settle(done.reserve(10), 10)
        done.close()
        dead = ledger.plan(PATIENTS, RunLabel("id-2", "star"), STEP, 10, BUDGET)
        dead.settle(dead.reserve(4), 4)
        dead.reserve(3)
    return site


def open_ledger(site: Path, **how: object) -> Ledger:
    folder = site.parent
    return Ledger.open(folder / "ledger.sqlite", "hosp-a", folder / "elsewhere/head.json", **how)


def entries_of(site: Path) -> list:
    with open_ledger(site, read_only=True) as ledger:
        return ledger.entries()


def refused(result: Result, *words: str) -> None:
    """A message on standard error, exit code 2, nothing on standard output."""
    assert result.code == 2, result
    assert result.err.startswith("fedefm: ")
    for word in words:
        assert word in result.err
    assert result.out == ""


# status


def test_status_tells_the_sums_that_the_ledger_tells(run, spent):
    told = run("status", spent, "--json")
    (dataset,) = told.json["datasets"]
    with open_ledger(spent, read_only=True) as ledger:
        totals = ledger.totals(PATIENTS, BUDGET)
    assert told.code == 0
    assert dataset["spent"] == totals.spent == epsilon({STEP: 17}, 1e-3)
    assert dataset["reserved"] == pytest.approx(totals.reserved)
    assert dataset["left"] == pytest.approx(totals.left)
    assert (dataset["cap"], dataset["delta"]) == (6.0, 1e-3)
    assert (dataset["unit"], dataset["adjacency"]) == ("patient", "add_or_remove_one")


def test_status_lists_the_jobs_with_their_steps_and_dates(run, spent):
    (dataset,) = run("status", spent, "--json").json["datasets"]
    done, dead = dataset["jobs"]
    assert (done["name"], done["job"], done["steps_spent"]) == ("ring", "job-7", 10)
    assert (dead["run_id"], dead["steps_spent"], dead["steps_reserved"]) == ("id-2", 7, 3)
    assert dead["steps_not_settled"] == 3
    assert done["first"] <= done["last"] <= dead["last"]


def test_status_in_words_names_unit_delta_adjacency_and_accountant(run, spent):
    told = run("status", spent)
    assert told.code == 0
    for words in ("per patient", "delta 0.001", "adding or removing one patient", "PLD", "cap 6"):
        assert words in told.out
    assert "ring (id-1, FLARE job job-7)" in told.out


def test_status_before_the_first_run_shows_the_cap_and_leaves_no_ledger(run, site):
    told = run("status", site)
    assert told.code == 0
    assert "not begun yet" in told.out
    assert "left 6.000" in told.out
    assert not (site.parent / "ledger.sqlite").exists()


@pytest.mark.parametrize("command", ["status", "ledger", "verify", "report"])
def test_a_site_file_without_ledger_is_one_sentence(run, tmp_path, command):
    site = write_site(tmp_path / "none", ledger=None)
    refused(run(command, site), "names no ledger", "nothing is counted")


@pytest.mark.parametrize("command", ["status", "ledger", "verify", "report"])
def test_a_lost_ledger_is_not_taken_for_one_not_begun(run, spent, command, tmp_path):
    (spent.parent / "ledger.sqlite").unlink()
    more = ["--out", tmp_path / "out"] if command == "report" else []
    result = run(command, spent, *more)
    assert result.code == 2
    assert "ledger.sqlite is gone or empty, but its key" in result.err


def test_a_remembered_head_tells_of_a_ledger_of_which_nothing_is_left(run, site):
    refused(run("verify", site), "no ledger", "begins it")
    refused(run("verify", site, "--head", f"3:{'0' * 64}"), "is gone or empty", "its entry 3")


# ledger


def test_ledger_as_csv_has_every_entry_with_hash_and_signature(run, spent):
    told = run("ledger", spent, "--csv")
    rows = list(csv.DictReader(io.StringIO(told.out)))
    entries = entries_of(spent)
    assert [row["hash"] for row in rows] == [entry.hash for entry in entries]
    assert all(len(row["signature"]) == 128 for row in rows)
    assert [row["kind"] for row in rows[:4]] == ["genesis", "plan", "reserve", "settle"]


def test_ledger_as_json_is_enough_to_count_epsilon_again(run, spent):
    settled = [entry for entry in run("ledger", spent, "--json").json if entry["kind"] == "settle"]
    spends = [{Mechanism(**entry["mechanism"]): entry["steps"]} for entry in settled]
    assert together(*spends) == {STEP: 14}


def test_ledger_of_one_dataset_leaves_out_the_others(run, spent):
    with open_ledger(spent) as ledger:
        ledger.plan(Dataset("chest", "patient"), RunLabel("id-3", "third"), STEP, 5, BUDGET)
    (only,) = run("ledger", spent, "--dataset", "chest", "--json").json
    assert only["run"]["name"] == "third"
    assert "third" in run("ledger", spent).out


def test_an_unknown_dataset_is_refused_with_those_there_are(run, spent):
    refused(run("ledger", spent, "--dataset", "x"), "'x'", "pretraining")


def test_two_forms_at_once_are_refused(run, spent):
    refused(run("ledger", spent, "--csv", "--json"), "choose one")


# verify


def test_verify_of_a_sound_ledger_says_what_it_checked_and_its_head(run, spent):
    told = run("verify", spent)
    newest = entries_of(spent)[-1]
    assert told.code == 0
    for words in ("signed", "SHA-256", "without a gap", "witness"):
        assert words in told.out
    assert f"newest entry: {newest.sequence}:{newest.hash}" in told.out


def test_verify_takes_a_head_that_is_in_the_ledger(run, spent):
    old = entries_of(spent)[3]
    told = run("verify", spent, "--head", f"{old.sequence}:{old.hash}", "--json")
    assert (told.code, told.json["doubts"]) == (0, [])


@pytest.mark.parametrize("head", ["4:" + "0" * 64, "99:" + "a" * 64])
def test_verify_doubts_a_ledger_without_the_head_that_is_remembered(run, spent, head):
    refused(run("verify", spent, "--head", head), "remembers")
    assert run("verify", spent, "--head", head, "--json").code == 2


@pytest.mark.parametrize("head", ["4", "x:ab", "4:ab", ":" + "a" * 64])
def test_a_head_that_is_none_is_refused(run, spent, head):
    refused(run("verify", spent, "--head", head), "SEQ:HASH")


def tamper(site: Path) -> None:
    connection = sqlite3.connect(site.parent / "ledger.sqlite")
    trigger = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'no_change'")
    (sql,) = trigger.fetchone()
    connection.execute("DROP TRIGGER no_change")
    connection.execute("UPDATE entries SET record = replace(record, '10', '1') WHERE sequence = 4")
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_a_changed_entry_is_found_and_nothing_is_shown_of_such_a_ledger(run, spent):
    tamper(spent)
    refused(run("verify", spent), "entry 4")
    refused(run("status", spent), "entry 4")
    refused(run("ledger", spent), "entry 4")


def test_a_restored_older_copy_is_found_by_its_witness(run, spent):
    ledger = spent.parent / "ledger.sqlite"
    shutil.copy(ledger, spent.parent / "backup")
    with open_ledger(spent) as opened:
        opened.refund(PATIENTS, "id-2", "died")
    for leftover in spent.parent.glob("ledger.sqlite-*"):
        leftover.unlink()
    shutil.copy(spent.parent / "backup", ledger)
    refused(run("verify", spent), "restored")


def test_a_lost_key_is_a_doubt(run, spent):
    (spent.parent / "ledger.sqlite.key").unlink()
    refused(run("verify", spent), "key")


# report


def test_report_writes_a_page_and_json_beside_it(run, spent, tmp_path):
    told = run("report", spent, "--out", tmp_path / "out")
    assert told.code == 0
    assert told.out.strip() == str(tmp_path / "out" / "privacy.html")
    page = (tmp_path / "out" / "privacy.html").read_text(encoding="utf-8")
    facts = json.loads((tmp_path / "out" / "privacy.json").read_text(encoding="utf-8"))
    (dataset,) = facts["datasets"]
    assert dataset["spent"]["record"] == epsilon({STEP: 17}, 1e-3)
    top = re.search(r"ε = ([0-9.]+)</b>", page)
    assert top is not None
    assert float(top[1]) == pytest.approx(dataset["spent"]["record"], abs=1.1e-3)
    assert "record verified" in page
    assert f"--head {facts['sequence']}:{facts['head']}" in page


def test_report_takes_a_file_name_too(run, spent, tmp_path):
    told = run("report", spent, "--out", tmp_path / "2026.html", "--json")
    assert told.json["page"] == str(tmp_path / "2026.html")
    assert (tmp_path / "2026.json").exists()


def test_report_of_a_ledger_in_doubt_is_written_and_ends_badly(run, spent, tmp_path):
    tamper(spent)
    told = run("report", spent, "--out", tmp_path)
    page = (tmp_path / "privacy.html").read_text(encoding="utf-8")
    assert told.code == 2
    assert "the record is in doubt" in page
    assert "entry 4" in page
    assert "record verified" not in page


def test_report_before_the_first_run_says_that_nothing_was_spent(run, site, tmp_path):
    assert run("report", site, "--out", tmp_path / "out").code == 0
    page = (tmp_path / "out" / "privacy.html").read_text(encoding="utf-8")
    assert "There is no ledger yet" in page
    assert "ε = 0" in page


# refund


def test_refund_gives_back_what_a_dead_run_held_and_keeps_what_it_settled(run, spent):
    told = run(
        "refund", spent, "--dataset", "pretraining", "--run", "id-2", "--reason", "died", "--yes"
    )
    assert told.code == 0
    with open_ledger(spent, read_only=True) as ledger:
        assert ledger.spent(PATIENTS) == {STEP: 14}
        assert ledger.reserved(PATIENTS) == {}
        newest = ledger.entries()[-1]
    assert (newest.kind, newest.reason) == ("refund", "died")
    assert run("verify", spent).code == 0


@pytest.mark.parametrize("reason", ["", "   "])
def test_refund_without_a_reason_is_refused(run, spent, reason):
    before = entries_of(spent)
    told = run(
        "refund", spent, "--dataset", "pretraining", "--run", "id-2", "--reason", reason, "--yes"
    )
    refused(told, "reason")
    assert entries_of(spent) == before


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_refund_asks_and_does_nothing_without_a_yes(run, spent, answer):
    before = entries_of(spent)
    told = run(
        "refund", spent, "--dataset", "pretraining", "--run", "id-2", "--reason", "died",
        answer=answer,
    )  # fmt: skip
    assert told.code != 0
    assert "6 steps of run 'star'" in told.err
    assert entries_of(spent) == before


def test_refund_with_a_yes_is_written(run, spent):
    told = run(
        "refund", spent, "--dataset", "pretraining", "--run", "id-2", "--reason", "died", "--json",
        answer="y\n",
    )  # fmt: skip
    assert told.code == 0
    assert {entry["reason"] for entry in json.loads(told.out)} == {"died"}


@pytest.mark.parametrize(("run_id", "words"), [("nope", "no run"), ("id-1", "nothing to refund")])
def test_refund_of_what_is_not_held_is_refused(run, spent, run_id, words):
    told = run(
        "refund", spent, "--dataset", "pretraining", "--run", run_id, "--reason", "x", "--yes"
    )
    refused(told, words)


def test_refund_makes_no_ledger(run, site):
    told = run("refund", site, "--dataset", "pretraining", "--run", "x", "--reason", "x", "--yes")
    refused(told, "no ledger")
    assert not (site.parent / "ledger.sqlite").exists()


# what-if


@pytest.fixture
def run_file(site: Path) -> Path:
    """A private run over 40 patients at the site."""
    rows = []
    for number in range(40):
        (site.parent / f"{number}.png").write_bytes(b"no image is opened")
        rows.append(Row(f"{number}.png", 0, f"secret-{number}", "phantom", split="train"))
    write_manifest(site.parent / "manifest.csv", rows)
    return write_run(site.parent, {"epsilon": 3.0})


def write_run(folder: Path, dp: dict[str, object], **federation: object) -> Path:
    settings = {
        "federation": {"rounds": 10} | federation,
        "privacy": {"dp": {"delta": 1e-3, "patients_per_step": 4} | dp},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder / "run.yaml"


def test_what_if_a_run_fits_tells_its_costs_and_writes_nothing(run, spent, run_file):
    before = entries_of(spent)
    told = run("what-if", run_file, "--site", spent, "--json")
    found = told.json
    assert (told.code, found["fits"], found["ways"]) == (0, True, [])
    assert found["steps"] == 60  # 10 rounds of 5, and 5 for a guest in every fifth round
    mechanism = Mechanism.from_json(found["mechanism"])
    assert found["costs"]["run"] == epsilon({mechanism: 60}, 1e-3) <= 3.0
    everything = together({STEP: 20, mechanism: 60})  # the dead run's plan included
    assert found["costs"]["total"] == epsilon(everything, 1e-3)
    assert found["left"] == pytest.approx(6.0 - found["costs"]["total"])
    assert entries_of(spent) == before


def test_what_if_makes_no_ledger(run, site, run_file):
    assert run("what-if", run_file, "--site", site).code == 0
    assert not (site.parent / "ledger.sqlite").exists()


def test_what_if_a_run_does_not_fit_says_what_would_and_it_does(run, spent, run_file):
    write_run(run_file.parent, {"noise_multiplier": 0.7})
    told = run("what-if", run_file, "--site", spent, "--json")
    assert (told.code, told.json["fits"]) == (1, False)
    assert {way["what"] for way in told.json["ways"]} >= {"more noise"}
    for way in told.json["ways"]:
        settings = yaml.safe_load(run_file.read_text(encoding="utf-8"))
        for name, value in way["settings"].items():
            section, *path = name.split(".")
            place = settings[section]
            for part in path[:-1]:
                place = place[part]
            place[path[-1]] = value
        (run_file.parent / "other.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        again = run("what-if", run_file.parent / "other.yaml", "--site", spent, "--json")
        assert again.code == 0
        assert again.json["costs"]["total"] == pytest.approx(way["total"])


def test_what_if_in_words_names_the_way_out(run, spent, run_file):
    write_run(run_file.parent, {"noise_multiplier": 0.7})
    told = run("what-if", run_file, "--site", spent)
    assert told.code == 1
    assert "it does not fit" in told.out
    assert "privacy.dp.noise_multiplier: " in told.out
    assert "secret" not in told.out


def test_what_if_more_neighbors_cost_more(run, site, run_file):
    write_run(run_file.parent, {"noise_multiplier": 2.0}, update="mixed", schedule="neighbors")
    costs = [
        run("what-if", run_file, "--site", site, "--partners", number, "--json").json["costs"]
        for number in (1, 3)
    ]
    assert costs[0]["run"] < costs[1]["run"]
    assert costs[0]["guest"] > 0


def test_what_if_asks_for_neighbors_where_the_run_file_does_not_say(run, site, run_file):
    write_run(run_file.parent, {"noise_multiplier": 2.0}, update="mixed", schedule="neighbors")
    refused(run("what-if", run_file, "--site", site), "--partners")


def test_what_if_with_the_sites_counts_as_the_run_does(run, site, run_file):
    for name in ("hosp-b", "hosp-c", "hosp-d"):
        shutil.copytree(site.parent, site.parent.parent / name)
    run_file = run_file.rename(site.parent.parent / "run.yaml")
    told = run("what-if", run_file, "--site", site, "--sites", site.parent.parent, "--json")
    assert told.json["steps"] == 60


def test_what_if_of_a_stranger_among_the_sites_is_refused(run, site, run_file, tmp_path):
    write_site(tmp_path / "others", ledger=None)
    (tmp_path / "all").mkdir()
    shutil.move(tmp_path / "others", tmp_path / "all" / "x")
    told = run("what-if", run_file, "--site", site, "--sites", tmp_path / "all")
    refused(told, "hosp-a")


def test_what_if_a_run_without_privacy_is_refused(run, site, run_file):
    run_file.write_text("name: plain\n", encoding="utf-8")
    refused(run("what-if", run_file, "--site", site), "privacy.dp")


def test_what_if_the_policy_refuses_is_told_as_the_site_would(run, site, run_file):
    write_run(run_file.parent, {"epsilon": 7.0})
    refused(run("what-if", run_file, "--site", site), "above its cap of 6")


# all of them


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    words = get_command(cli.app).commands["privacy"].commands[command].help
    assert f"Example: fedefm privacy {command} " in words


def test_verify_before_the_first_run_claims_nothing(run, site):
    refused(run("verify", site), "no ledger")

"""``privacy: {dp: ...}`` of a run file, from the command line to the sites' ledgers."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fedefm.config import RunConfig, dump
from fedefm.errors import BudgetExhausted, PolicyRefused
from fedefm.events import read_events
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.foundation import build_foundation
from fedefm.train.assemble import plan_exchanges
from fedefm.train.effort import efforts, steps_of
from fedefm.train.run import run_in_process
from fedefm.train.state import finished_rounds
from nvflare_jobs import cli
from nvflare_jobs.protect import ByLedger
from privacy.accountant import epsilon
from privacy.ledger import Dataset, Ledger

SITES = ("hosp-a", "hosp-b", "hosp-c")
PATIENTS = Dataset("pretraining", "patient")
DP = {"epsilon": 6.0, "patients_per_step": 6, "gradients": "loop"}
ALGORITHMS = {
    "swap": {},
    "mixed": {"update": "mixed", "schedule": "neighbors"},
    "gossip": {"algorithm": "gossip"},
    "fedavg": {"scenario": "client_server", "algorithm": "fedavg"},
    "local": {"scenario": "local", "algorithm": "none"},
}


@pytest.fixture
def sites(tmp_path: Path, hospitals: Path) -> Path:
    """Three hospitals that keep a ledger each."""
    return with_ledgers(Path(shutil.copytree(hospitals, tmp_path / "sites")))


def with_ledgers(folder: Path, **changes: Any) -> Path:
    for site in SITES:
        path = folder / site / "fedefm_site.yaml"
        settings = {**yaml.safe_load(path.read_text()), "ledger": "ledger.sqlite", **changes}
        path.write_text(yaml.safe_dump(settings))
    return folder


def private(run: RunConfig, **dp: Any) -> RunConfig:
    return RunConfig.model_validate({**run.model_dump(), "privacy": {"dp": {**DP, **dp}}})


def literal(run: RunConfig) -> RunConfig:
    distilled = run.model_copy(update={"distill": run.distill.model_copy(update={"beta": 0.5})})
    federation = run.federation.model_copy(update={"update": "literal", "schedule": "neighbors"})
    return distilled.model_copy(update={"federation": federation})


def play(run: RunConfig, sites: Path, out: Path, resume: bool = False) -> dict[str, Any]:
    run_in_process(run, sites, out, resume, protect=ByLedger())
    return json.loads((out / "result.json").read_text())


def ledger_of(sites: Path, site: str) -> Ledger:
    return Ledger.open(sites / site / "ledger.sqlite", site, read_only=True)


def planned_steps(run: RunConfig, site: str, begin: int = 0) -> int:
    return steps_of(efforts(run, plan_exchanges(run, SITES).schedule, site, begin))


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "literal"])
def test_every_site_spends_what_was_planned_and_the_result_says_so(
    make_run: Any, sites: Path, tmp_path: Path, algorithm: str
) -> None:
    run = literal(make_run()) if algorithm == "literal" else make_run(**ALGORITHMS[algorithm])
    run = private(run)
    result = play(run, sites, tmp_path / "run")

    assert result["protection"]["differential_privacy"] is True
    for site in SITES:
        told = result["privacy"][site]
        assert told["steps"] == planned_steps(run, site)
        assert 0.9 * 6 < told["epsilon"] <= 6
        assert (told["unit"], told["adjacency"]) == ("patient", "add_or_remove_one")
        with ledger_of(sites, site) as ledger:
            (record,) = ledger.runs(PATIENTS)
        assert sum(record.spent.values()) == told["steps"]
        assert epsilon(record.spent, 1e-5) == told["epsilon"]
        assert (record.lost, record.is_open) == (0, False)


def test_nothing_measured_in_training_is_written_anywhere(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    play(private(make_run()), sites, tmp_path / "run")
    events = list(read_events(tmp_path / "run" / "events.jsonl"))
    kinds = {event["event"] for event in events}
    assert not kinds & {"similarity", "corpora"}
    assert {event["loss"] for event in events if event["event"] == "round"} == {None}
    card = (tmp_path / "run" / "model_card.md").read_text()
    assert "Not protected" not in card
    assert "epsilon" in card
    planned = {event["site"]: event for event in events if event["event"] == "privacy_planned"}
    assert set(planned) == set(SITES)
    assert set(planned["hosp-a"]["costs"]) == {"step", "round", "guest"}


def test_a_private_run_without_a_protection_is_refused_before_an_image_is_read(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    for site in SITES:
        for image in (sites / site).glob("*.png"):
            image.write_bytes(b"not an image")
    with pytest.raises(PolicyRefused, match="'hosp-a' would train without"):
        run_in_process(private(make_run()), sites, tmp_path / "run")
    with_ledgers(sites, policy={"delta": 1e-4}, ledger=None)
    with pytest.raises(PolicyRefused, match="'hosp-a' refuses this run"):
        play(private(make_run()), sites, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_in_one_place_are_not_private(make_run: Any, sites: Path, tmp_path: Path) -> None:
    settings = dump(private(make_run(scenario="centralized", algorithm="none")))
    (tmp_path / "run.yaml").write_text(settings)
    refused(tmp_path, sites, "'centralized'", "leave out privacy.dp")


def test_a_run_beyond_the_cap_stops_before_it_begins(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    with_ledgers(sites, policy={"epsilon_cap": 7.0})
    run = private(make_run())
    play(run, sites, tmp_path / "first")
    (tmp_path / "run.yaml").write_text(dump(run))
    refused(tmp_path, sites, "site 'hosp-a'", "may spend epsilon 7", "privacy officer")

    for site in SITES:
        with ledger_of(sites, site) as ledger:
            assert not ledger.reserved(PATIENTS)
            assert len(ledger.runs(PATIENTS)) == 1


def test_what_the_last_site_cannot_afford_is_given_back_by_the_others(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    path = sites / "hosp-c" / "fedefm_site.yaml"
    poor = {**yaml.safe_load(path.read_text()), "policy": {"epsilon_cap": 6.5, "delta": 1e-7}}
    path.write_text(yaml.safe_dump({**poor, "policy": {**poor["policy"], "epsilon_cap": 6.5}}))
    run = private(make_run(), noise_multiplier=0.6, epsilon=None)
    with pytest.raises(BudgetExhausted, match="site 'hosp-c'"):
        play(run, sites, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for site in SITES[:2]:
        with ledger_of(sites, site) as ledger:
            assert not ledger.reserved(PATIENTS)
            assert not ledger.spent(PATIENTS)


def refused(tmp_path: Path, sites: Path, *words: str) -> None:
    """The command line ends with exit code 2 and one sentence, and leaves nothing."""
    command = [sys.executable, "-m", cli.__name__, "run", str(tmp_path / "run.yaml")]
    command += ["--sites", str(sites), "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert len(ended.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in ended.stderr
    assert not (tmp_path / "out").exists()


DYING = """
import os, signal, sys
from privacy.dp.noise import GridNoise

add, calls = GridNoise.add, []

def die_at_last(self, *arguments):  # noise is drawn once a step, in the middle of a fit
    calls.append(1)
    if len(calls) == {calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    return add(self, *arguments)

GridNoise.add = die_at_last
sys.argv = ["fedefm", "run", {run!r}, "--sites", {sites!r}, "--out", {out!r}, "--json"]
from nvflare_jobs import cli
cli.main()
"""


def die(run: RunConfig, sites: Path, tmp_path: Path, calls: int) -> Path:
    """Kill -9 a run in the middle of a fit."""
    (tmp_path / "run.yaml").write_text(dump(run))
    out = tmp_path / "run"
    script = DYING.format(
        calls=calls, run=str(tmp_path / "run.yaml"), sites=str(sites), out=str(out)
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended
    return out


@pytest.mark.parametrize("calls", [3, 16])  # in the first round, and after a saved one
def test_a_run_killed_in_a_fit_and_resumed_shows_the_exact_account(
    make_run: Any, sites: Path, tmp_path: Path, calls: int
) -> None:
    run = private(make_run(local_steps=2), patients_per_step=12, gradients="loop")  # all, each step
    out = die(run, sites, tmp_path, calls)
    done = max(finished_rounds(out / "state"), default=0)
    before, lost = {}, {}
    for site in SITES:
        with ledger_of(sites, site) as ledger:
            (record,) = ledger.runs(PATIENTS)
        before[site], lost[site] = sum(record.spent.values()), record.lost
        assert record.is_open
    assert sorted(lost.values()) == [0, 0, 2]  # the fit that died counts in full, nothing else does

    result = play(run, sites, out, resume=True)

    for site in SITES:
        told = result["privacy"][site]
        assert told["steps"] == before[site] + planned_steps(run, site, done)
        assert told["epsilon"] <= 6
        with ledger_of(sites, site) as ledger:
            (record,) = ledger.runs(PATIENTS)
        assert sum(record.spent.values()) == told["steps"]
        assert (record.lost, record.is_open) == (lost[site], False)
        assert epsilon(record.spent, 1e-5) == told["epsilon"]


def test_a_run_that_was_interrupted_keeps_its_budget_for_its_resumption(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    run = private(make_run())

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "round_started" and event["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_process(run, sites, tmp_path / "run", listeners=(stop,), protect=ByLedger())
    spent = [
        e for e in read_events(tmp_path / "run" / "events.jsonl") if e["event"] == "privacy_spent"
    ]
    assert {event["steps"] for event in spent} == {1}
    noise = {}
    for site in SITES:
        with ledger_of(sites, site) as ledger:
            assert sum(ledger.reserved(PATIENTS).values()) == planned_steps(run, site, 1)
            (noise[site],) = ledger.spent(PATIENTS)

    result = play(run, sites, tmp_path / "run", resume=True)
    for site in SITES:
        (mechanism,) = result["privacy"][site]["mechanisms"]  # nothing was lost: the same noise
        assert mechanism["noise_multiplier"] == noise[site].noise_multiplier
        assert mechanism["steps"] == planned_steps(run, site)


def test_only_the_end_of_a_public_model_is_trained_privately(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    public = build_foundation("resnet_micro", ("x", "y"), 16, "trainable", seed=3)
    save_checkpoint(tmp_path / "public.safetensors", public, public.info)
    with_ledgers(sites, starts={"public": str(tmp_path / "public.safetensors")})
    settings = private(make_run()).model_dump()
    settings["model"] |= {"start": "public", "train_last": 1, "head": "trainable"}
    result = play(RunConfig.model_validate(settings), sites, tmp_path / "run")

    assert result["protection"]["differential_privacy"] is True
    ended = load_file(tmp_path / "run" / "model.safetensors")
    began = public.state_dict()
    assert torch.equal(ended["backbone.conv3.weight"], began["backbone.conv3.weight"])
    assert not torch.equal(ended["backbone.conv4.weight"], began["backbone.conv4.weight"])


def test_labels_come_from_the_site_files_where_the_run_file_names_none(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    run = private(make_run())
    blank = run.model_copy(update={"model": run.model.model_copy(update={"classes": ()})})
    (tmp_path / "run.yaml").write_text(dump(blank))
    refused(tmp_path, sites, "model.classes is empty", "hosp-a, hosp-b, hosp-c")
    labels = {"manifest": "manifest.csv", "labels": ["bars", "disk", "square"]}
    with_ledgers(sites, datasets={"pretraining": labels})
    play(blank, sites, tmp_path / "run")
    resolved = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert resolved["model"]["classes"] == ["bars", "disk", "square"]


def test_a_run_killed_after_its_last_step_is_finished_without_spending_more(
    make_run: Any, sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = private(make_run()), tmp_path / "run"

    def stop(*arguments: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fedefm.train.run.write_result", stop)
        with pytest.raises(KeyboardInterrupt):
            play(run, sites, out)
    result = play(run, sites, out, resume=True)
    for site in SITES:
        assert result["privacy"][site]["steps"] == planned_steps(run, site)
        with ledger_of(sites, site) as ledger:
            (record,) = ledger.runs(PATIENTS)
        assert not record.is_open


def test_a_run_cannot_go_on_under_another_name_in_the_ledger(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    """It would get noise as if nothing had been spent on its model."""
    run, out = private(make_run()), tmp_path / "run"

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "round_started" and event["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_process(run, sites, out, listeners=(stop,), protect=ByLedger())
    (out / "run_id").write_text("0" * 32 + "\n", encoding="utf-8")
    with pytest.raises(PolicyRefused, match="no entry of run id '0000"):
        play(run, sites, out, resume=True)

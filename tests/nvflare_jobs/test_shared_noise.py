"""``privacy: {secagg: {noise_shares: ...}}``: from run and site files to ledger, sum and model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from fedefm.config import RunConfig
from fedefm.errors import BudgetExhausted, ConfigError, PolicyRefused
from fedefm.events import read_events
from fedefm.model.weights import weights_of
from fedefm.report.run_report import write_report
from fedefm.train.assemble import build_model
from fedefm.train.effort import Effort
from fedefm.train.message import Header
from fedefm.train.run import run_in_process
from fedefm.train.simulate import Faults
from nvflare_jobs import cli
from nvflare_jobs.afford import refuse_unaffordable
from nvflare_jobs.protect import ByLedger
from nvflare_jobs.secure import BySecureSums
from privacy.accountant import epsilon
from privacy.ledger import Dataset, Ledger
from privacy.mechanism import Mechanism

SITES = ("hosp-a", "hosp-b", "hosp-c")
PATIENTS = Dataset("pretraining", "patient")
SIGMA, HONEST, BATCH = 1.5, 2, 6


@pytest.fixture
def sites(tmp_path: Path, hospitals: Path) -> Path:
    """Three hospitals that keep a ledger each and trust each other's noise."""
    folder = Path(shutil.copytree(hospitals, tmp_path / "sites"))
    for site in SITES:
        allow(folder, site, noise_shares=True, colluders=0)
    return folder


def allow(folder: Path, site: str, **policy: Any) -> None:
    path = folder / site / "fedefm_site.yaml"
    settings = yaml.safe_load(path.read_text()) | {"ledger": "ledger.sqlite", "policy": policy}
    path.write_text(yaml.safe_dump(settings))


def sharing(run: RunConfig, **changed: Any) -> RunConfig:
    settings = run.model_dump()
    settings["training"] |= {"momentum": 0.0, "average_decay": 0.0, "learning_rate": 0.5}
    settings["federation"] |= {"scenario": "client_server", "algorithm": "fedavg"}
    dp = {"noise_multiplier": SIGMA, "patients_per_step": BATCH, "gradients": "loop"}
    secagg = {"noise_shares": {"honest": HONEST}, "largest_site": 100}
    settings["privacy"] = {"dp": dp | changed.pop("dp", {}), "secagg": secagg | changed}
    return RunConfig.model_validate(settings)


def play(
    run: RunConfig, sites: Path, out: Path, faults: Faults | None = None, **more: Any
) -> dict[str, Any]:
    hide = BySecureSums(out / "state" / "secure_sums")
    run_in_process(run, sites, out, faults=faults, protect=ByLedger(), hide=hide, **more)
    return json.loads((out / "result.json").read_text())


def moved(run: RunConfig, out: Path) -> torch.Tensor:
    """How far each number of the model is from where it began."""
    start, end = weights_of(build_model(run)), load_file(out / "model.safetensors")
    return torch.cat([(end[name] - value).flatten() for name, value in start.items()])


def test_the_ledger_and_the_result_say_on_whom_the_epsilon_rests(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    result = play(sharing(make_run()), sites, tmp_path / "run")
    shared = Mechanism(SIGMA, BATCH / 12, 12, 12, shares=HONEST)
    for site in SITES:
        told = result["privacy"][site]
        assert told["steps"] == 3
        assert told["noise_shares"] == HONEST
        assert told["mechanisms"] == [{**shared.to_json(), "steps": 3}]
        assert told["epsilon"] == pytest.approx(epsilon({shared: 3}, 1e-5))
        alone = Mechanism(SIGMA / HONEST**0.5, BATCH / 12, 12, 12)
        assert told["epsilon_own_noise"] == pytest.approx(epsilon({alone: 3}, 1e-5))
        with Ledger.open(sites / site / "ledger.sqlite", site, read_only=True) as ledger:
            assert ledger.spent(PATIENTS) == {shared: 3}
    planned = [e for e in read_events(tmp_path / "run" / "events.jsonl") if "costs" in e]
    assert {event["noise_shares"] for event in planned} == {HONEST}


def test_the_model_holds_as_much_noise_as_the_sites_that_were_in_the_sum(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    run = sharing(make_run(rounds=1, evaluate_every=1))
    play(run, sites, tmp_path / "run")
    noise = moved(run, tmp_path / "run") / (0.5 / BATCH / len(SITES))
    # C is 1: three sums of clipped gradients are nothing beside noise on 60,000 numbers
    assert float(noise.std()) == pytest.approx(SIGMA * (len(SITES) / HONEST) ** 0.5, rel=0.02)


def test_with_hardly_any_noise_it_is_fedavg(make_run: Any, sites: Path, tmp_path: Path) -> None:
    still = {"noise_multiplier": 3e-4, "clip_norm": 300.0, "patients_per_step": 12}
    run = sharing(make_run(rounds=1, evaluate_every=1), dp={**still, "max_patients_per_step": 12})
    settings = run.model_dump()
    settings["training"] |= {"augment": "none", "batch_size": 12, "gradient_norm": 1e3}
    run = RunConfig.model_validate(settings)
    play(run, sites, tmp_path / "ours")
    plain = RunConfig.model_validate(run.model_dump() | {"privacy": {}})
    run_in_process(plain, sites, tmp_path / "plain")
    ours, theirs = moved(run, tmp_path / "ours"), moved(plain, tmp_path / "plain")
    assert float((ours - theirs).norm() / theirs.norm()) < 0.05


def test_where_too_few_remain_nobody_helps_and_the_model_stays(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    def silent(header: Header) -> bool:
        return header.sender == "hosp-c" and header.phase == "sum/masked"

    for site in SITES:  # two could open another sum, but three shares make up the noise
        allow(sites, site, noise_shares=True, colluders=0)
    run = sharing(
        make_run(rounds=1, evaluate_every=1, deadline_s=0.2),
        noise_shares={"honest": 3},
        colluders=0,
    )
    play(run, sites, tmp_path / "run", Faults(lose=silent))
    assert float(moved(run, tmp_path / "run").abs().max()) == 0
    troubles = (tmp_path / "run" / "events.jsonl").read_text()
    assert "demands 2 others besides itself" in troubles


def test_nothing_but_parts_of_sums_ever_leaves_a_site(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    phases: set[str] = set()

    def watch(header: Header) -> bool:
        if header.sender in SITES:
            phases.add(header.phase.split("/")[0])
        return False

    play(sharing(make_run()), sites, tmp_path / "run", Faults(lose=watch))
    assert phases == {"sum", "metrics"}


def test_a_site_that_does_not_trust_the_others_refuses_before_anything_is_read(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    allow(sites, "hosp-b")
    with pytest.raises(PolicyRefused, match=r"'hosp-b' refuses .* rest on noise of other sites"):
        play(sharing(make_run()), sites, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not (sites / "hosp-a" / "ledger.sqlite").exists()


def test_more_honest_sites_than_there_are_is_no_run(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="takes 4 sites, and the run has 3"):
        play(sharing(make_run(), noise_shares={"honest": 3}), sites, tmp_path / "run")


def test_a_model_too_large_for_the_ring_is_refused_with_nothing_planned(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    run = sharing(make_run(), dp={"max_patients_per_step": 10**6})
    with pytest.raises(ConfigError, match="train fewer numbers"):
        play(run, sites, tmp_path / "run")
    with Ledger.open(sites / "hosp-a" / "ledger.sqlite", "hosp-a", read_only=True) as ledger:
        assert not ledger.reserved(PATIENTS)


def test_the_cap_counts_shared_noise_as_what_it_is(make_run: Any, sites: Path) -> None:
    run = sharing(make_run())
    reached = epsilon({Mechanism(SIGMA, BATCH / 12, 12, 12, shares=HONEST): 3}, 1e-5)
    file, efforts = sites / "hosp-a" / "fedefm_site.yaml", (Effort(own=1),) * 3
    allow(sites, "hosp-a", noise_shares=True, epsilon_cap=1.01 * reached)
    refuse_unaffordable("hosp-a", file, run, efforts)
    allow(sites, "hosp-a", noise_shares=True, epsilon_cap=0.99 * reached)
    with pytest.raises(BudgetExhausted):
        refuse_unaffordable("hosp-a", file, run, efforts)


def test_officer_and_reader_are_told_on_whom_it_rests(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    def said(*arguments: str) -> str:
        site_file = str(sites / "hosp-a" / "fedefm_site.yaml")
        ended = CliRunner().invoke(cli.app, ["privacy", *arguments, site_file])
        assert ended.exit_code == 0, ended.output
        return ended.output

    play(sharing(make_run()), sites, tmp_path / "run")
    assert "counts on noise of up to 2 honest sites together" in said("status")
    assert "noise made by at least 2 honest sites" in said("ledger")
    assert json.loads(said("status", "--json"))["datasets"][0]["noise_shares"] == 2
    said("verify")
    assert "rest on the sites together" in (tmp_path / "run" / "model_card.md").read_text()
    write_report(tmp_path / "run")
    assert "The noise rests on other sites" in (tmp_path / "run" / "report.html").read_text()


def test_a_round_that_is_done_again_is_paid_again_and_its_noise_stays_equal_at_all_sites(
    make_run: Any, sites: Path, tmp_path: Path
) -> None:
    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "round" and event["round"] == 1:  # its sum was opened
            raise KeyboardInterrupt

    run = sharing(make_run())
    with pytest.raises(KeyboardInterrupt):
        play(run, sites, tmp_path / "run", listeners=(stop,))
    result = play(run, sites, tmp_path / "run", resume=True)
    for site in SITES:
        (mechanism,) = result["privacy"][site]["mechanisms"]
        assert (mechanism["noise_multiplier"], mechanism["shares"]) == (SIGMA, HONEST)
        assert mechanism["steps"] == 4

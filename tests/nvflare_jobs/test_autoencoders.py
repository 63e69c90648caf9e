"""Masked autoencoders over the same borders as any model: private, in secure sums, in FLARE."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fedefm.config import RunConfig
from fedefm.errors import PolicyRefused
from fedefm.events import read_events
from fedefm.finetune.start import Start
from fedefm.model.mae import read_masked_autoencoder
from fedefm.report.run_report import write_report
from fedefm.topology.participation import asked_by_share
from fedefm.train.assemble import plan_exchanges
from fedefm.train.effort import efforts, steps_of
from fedefm.train.run import run_in_process
from nvflare_jobs import cli
from nvflare_jobs.protect import ByLedger
from nvflare_jobs.secure import BySecureSums
from nvflare_jobs.simulator import run_in_simulator

REPOSITORY = Path(__file__).resolve().parents[2]
FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}
FOUR = ("hosp-a", "hosp-b", "hosp-c", "hosp-d")
CLOSE = 2e-4  # of weights after some rounds: every sum rounds, and training carries it on


def masked(run: RunConfig, **changes: Any) -> RunConfig:
    """``run`` as one of autoencoders, which name no labels."""
    model = {"backbone": "vit_micro", "image_size": 16}
    told = {**run.model_dump(exclude={"model"}), "model": model, "masking": {}, **changes}
    return RunConfig.model_validate(told)


def result_of(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return told


@pytest.fixture
def with_ledgers(tmp_path: Path, four_hospitals: Path) -> Path:
    folder = Path(shutil.copytree(four_hospitals, tmp_path / "sites"))
    for path in folder.glob("*/fedefm_site.yaml"):
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "ledger": "l.sqlite"}))
    return folder


def test_says_how_much_it_explains_and_what_it_is(
    make_run: Any, four_hospitals: Path, tmp_path: Path
) -> None:
    out = run_in_process(masked(make_run(**FEDAVG)), four_hospitals, tmp_path / "run")
    metrics = result_of(out)["metrics"]
    low, high = metrics["global_explained_low"], metrics["global_explained_high"]
    assert low <= metrics["global_explained"] <= high <= 1
    assert not any("accuracy" in name for name in metrics)
    assert "masked autoencoder" in (out / "model_card.md").read_text()
    read_masked_autoencoder(out / "model.safetensors")
    (held,) = (e for e in read_events(out / "events.jsonl") if e["event"] == "corpora")
    assert {corpus for site in held["holdings"].values() for corpus in site} != {"image"}
    page = write_report(out).read_text()
    assert "of the variance within them is explained" in page
    assert "accuracy" not in page.split("<main>")[1].split('id="protection"')[0].lower()


def test_the_run_file_of_the_guide_runs(
    four_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is but for its length; what comes of it starts fine-tuning."""
    settings = yaml.safe_load((REPOSITORY / "examples/ultrafedfm.yaml").read_text())
    settings["federation"]["rounds"] = 2
    settings["training"]["warmup_rounds"] = 1
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    order = ["run", tmp_path / "run.yaml", "--sites", four_hospitals, "--out", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", ["fedefm", *map(str, order)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (None, 0)
    assert len(list((tmp_path / "out" / "painted").glob("*.png"))) == 6
    segmenter = Start(tmp_path / "out" / "model.safetensors").segmenter(3, seed=1)
    trained = read_masked_autoencoder(tmp_path / "out" / "model.safetensors").backbone
    for name, tensor in trained.state_dict().items():
        assert torch.equal(segmenter.backbone.state_dict()[name], tensor), name


def test_a_private_site_spends_what_was_planned_of_the_rounds_in_which_it_is_asked(
    make_run: Any, with_ledgers: Path, tmp_path: Path
) -> None:
    dp = {"epsilon": 6.0, "patients_per_step": 6}
    settings = make_run(**FEDAVG, participation=0.5, rounds=4)
    run = masked(settings, privacy={"dp": dp})
    run_in_process(run, with_ledgers, tmp_path / "run", protect=ByLedger())
    told, plan = result_of(tmp_path / "run"), plan_exchanges(run, FOUR)
    for site in FOUR:
        planned = steps_of(efforts(run, plan.schedule, site, asked=plan.asked))
        asked = [k for k in range(4) if site in plan.asked(k)]
        assert planned == len(asked)  # one step a round
        assert told["participation"][site] == asked
        spent = told["privacy"][site]
        assert spent["steps"] == planned
        assert spent["epsilon"] <= 6
    assert any(len(turns) < 4 for turns in told["participation"].values())


@pytest.fixture
def six_hospitals(hospitals: Path, tmp_path: Path) -> Path:
    for k, letter in enumerate("abcdef"):
        like = f"hosp-{'abc'[k % 3]}"
        folder = Path(shutil.copytree(hospitals / like, tmp_path / "six" / f"hosp-{letter}"))
        manifest = folder / "manifest.csv"
        manifest.write_text(manifest.read_text().replace(f"{like}-", f"hosp-{letter}-"))
    return tmp_path / "six"


def test_learns_the_same_with_secure_sums_over_groups_of_those_who_are_asked(
    make_run: Any, six_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_run(**FEDAVG, participation=0.5, rounds=6)
    plain, hidden = masked(settings), masked(settings, privacy={"secagg": {"largest_site": 20}})
    run_in_process(hidden, six_hospitals, tmp_path / "secure", hide=BySecureSums(None))
    with monkeypatch.context() as patched:  # which plain sums need not do
        of_three = partial(asked_by_share, together=3)
        patched.setattr("fedefm.train.assemble.asked_by_share", lambda *args: of_three(*args[:3]))
        run_in_process(plain, six_hospitals, tmp_path / "plain")
    one, other = (load_file(tmp_path / n / "model.safetensors") for n in ("plain", "secure"))
    assert 0 < max(float((one[name] - other[name]).abs().max()) for name in one) < CLOSE
    first, second = (result_of(tmp_path / name) for name in ("plain", "secure"))
    assert first["participation"] == second["participation"]
    assert len({tuple(turns) for turns in second["participation"].values()}) == 2
    score = second["metrics"]["global_explained"]
    assert score == pytest.approx(first["metrics"]["global_explained"], abs=1 / 32)
    events = read_events(tmp_path / "secure/events.jsonl")
    assert not [event for event in events if event["event"] == "rejected"]


def test_sums_over_ever_other_sites_would_be_refused(
    make_run: Any, six_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is why whole groups are asked."""
    run = masked(
        make_run(**FEDAVG, participation=0.5, rounds=6), privacy={"secagg": {"largest_site": 20}}
    )
    monkeypatch.setattr("fedefm.train.assemble._least_to_hide", lambda run: 1)
    with pytest.raises(PolicyRefused, match="would not hide every site"):
        run_in_process(run, six_hospitals, tmp_path / "run", hide=BySecureSums(None))


@pytest.mark.slow
@pytest.mark.flare
def test_the_simulator_of_flare_gives_the_model_of_one_process(
    make_run: Any, four_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run = masked(make_run(**FEDAVG, participation=0.5))
    simulated = run_in_simulator(run, four_hospitals, tmp_path / "simulated")
    in_process = run_in_process(run, four_hospitals, tmp_path / "process")
    ours, theirs = (load_file(f / "model.safetensors") for f in (simulated, in_process))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=1e-5)
    one, other = result_of(simulated), result_of(in_process)
    assert one["metrics"] == pytest.approx(other["metrics"])
    assert one["participation"] == other["participation"]

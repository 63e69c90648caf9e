"""The page "your own federated algorithm in one file" of docs/architecture.md, run as it stands."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from fedefm.config import RunConfig, dump
from fedefm.errors import ConfigError, QuorumLost
from fedefm.events import read_events
from fedefm.report.run_report import write_report
from fedefm.train.assemble import build_server, plan_exchanges
from fedefm.train.effort import efforts, steps_of
from fedefm.train.exchange import RoundStats, Steps
from fedefm.train.federation import Federation
from fedefm.train.rounds import Algorithm, algorithm_for
from fedefm.train.rounds.fedavg import fedavg_server_round
from fedefm.train.run import run_in_process
from fedefm.train.site import Site
from nvflare_jobs.protect import ByLedger
from nvflare_jobs.secure import BySecureSums
from tests.fedefm.train.conftest import Pull, World

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"
TITLE = "## Your own federated algorithm in one file"
FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}
DP = {"dp": {"epsilon": 6.0, "patients_per_step": 6}}
SECAGG = {"secagg": {"largest_site": 20}}
CLOSE = 2e-4  # of weights after some rounds: every sum rounds, and training carries it on


def blocks() -> tuple[str, str]:
    """The algorithm's file, and the program that runs it."""
    section = PAGE.read_text(encoding="utf-8").split(TITLE)[1].split("\n## ")[0]
    algorithm, program = re.findall(r"```python\n(.*?)```", section, re.S)
    return algorithm, program


def loaded(source: str, name: str) -> ModuleType:
    module = ModuleType(name)
    exec(compile(source, f"{PAGE.name}: {name}", "exec"), module.__dict__)
    return module


FEDAVGM = loaded(blocks()[0], "fedavgm")


def fedavgm(momentum: float) -> Algorithm:
    made: Algorithm = FEDAVGM.fedavgm(momentum)
    return made


def result_of(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return told


@pytest.fixture
def here(tmp_path: Path, four_hospitals: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run the page's program in: sites with ledgers, and a module ``fedavgm``."""
    shutil.copytree(four_hospitals, tmp_path / "sites")
    for path in (tmp_path / "sites").glob("*/fedefm_site.yaml"):
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "ledger": "l.sqlite"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "fedavgm", FEDAVGM)
    return tmp_path


@pytest.mark.parametrize("privacy", [{}, DP, SECAGG, {**DP, **SECAGG}], ids=str)
def test_the_page_runs_as_it_stands(make_run: Any, here: Path, privacy: dict[str, Any]) -> None:
    run = make_run(**FEDAVG).model_dump() | {"privacy": privacy}
    run = RunConfig.model_validate(run)
    (here / "run.yaml").write_text(dump(run))
    loaded(blocks()[1], "program")
    told = result_of(here / "runs" / "fedavgm")
    assert told["algorithm"] == "fedavgm 0.9"
    assert all(turns == [0, 1, 2] for turns in told["participation"].values())
    assert told["protection"]["differential_privacy"] is ("dp" in privacy)
    assert told["protection"]["secure_sums"] is ("secagg" in privacy)
    assert "| algorithm | fedavgm 0.9 |" in (here / "runs/fedavgm/model_card.md").read_text()
    assert "by fedavgm 0.9 through a server" in write_report(here / "runs" / "fedavgm").read_text()
    plan = plan_exchanges(run, tuple(told["sites"]))
    for site, spent in told["privacy"].items():
        planned = steps_of(efforts(run, plan.schedule, site, asked=plan.asked))
        assert (spent or {"steps": planned})["steps"] == planned


def test_it_is_as_short_as_it_says() -> None:
    assert len(blocks()[0].splitlines()) < 60


def test_secure_sums_change_its_model_by_their_rounding_alone(
    make_run: Any, four_hospitals: Path, tmp_path: Path
) -> None:
    run = make_run(**FEDAVG)
    hidden = RunConfig.model_validate(run.model_dump() | {"privacy": SECAGG})
    ours = {"algorithm": fedavgm(0.9)}
    one = run_in_process(run, four_hospitals, tmp_path / "plain", **ours)
    other = run_in_process(
        hidden, four_hospitals, tmp_path / "secure", hide=BySecureSums(None), **ours
    )
    usual = run_in_process(run, four_hospitals, tmp_path / "usual")
    models = [load_file(folder / "model.safetensors") for folder in (one, other, usual)]
    assert 0 < distance(models[0], models[1]) < CLOSE
    assert distance(models[0], models[2]) > 10 * CLOSE  # it is another algorithm


def distance(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


# What it computes.

shares = st.sampled_from([0.3, 0.5, 1.0])
small = st.floats(-3, 3, width=32)


def played(
    algorithm: Algorithm | None, run: RunConfig, targets: list[float] | None = None
) -> Federation:
    """All rounds of ``run``: trained on images, or by a formula that pulls to ``targets``."""
    federation = of(algorithm, run, targets)
    federation.train()
    return federation


def of(algorithm: Algorithm | None, run: RunConfig, targets: list[float] | None) -> Federation:
    plan, sites = plan_exchanges(run, World.names), World.sites(run)
    for site, target in zip(sites.values(), targets or [], strict=bool(targets)):
        site.trainer = Pull(target)
    return Federation(run, plan, sites, build_server(run, plan), algorithm=algorithm)


def bits(federation: Federation) -> dict[str, bytes]:
    """Everything that the parties hold, and what they publish."""
    held = {
        f"{party} {part} {name}": tensor.contiguous().numpy().tobytes()
        for party, state in federation.states().items()
        for part, tensors in state.items()
        if part != "kept"
        for name, tensor in tensors.items()
    }
    published = federation.publish() or {}
    return held | {f"published {n}": t.contiguous().numpy().tobytes() for n, t in published.items()}


@settings(max_examples=15, deadline=None)
@given(st.lists(small, min_size=4, max_size=4), shares, st.integers(0, 99))
def test_without_momentum_it_is_fedavg_byte_for_byte(
    targets: list[float], share: float, seed: int
) -> None:
    run = World.settings(federation={**FEDAVG, "participation": share})
    run = run.model_copy(update={"seed": seed})
    assert bits(played(fedavgm(0.0), run, targets)) == bits(played(None, run, targets))


def test_so_it_is_where_images_are_trained_on() -> None:
    run = World.settings(federation={**FEDAVG, "local_steps": 2})
    usual = bits(played(None, run))
    assert bits(played(fedavgm(0.0), run)) == usual
    assert bits(played(fedavgm(0.5), run)) != usual


@settings(max_examples=15, deadline=None)
@given(st.lists(small, min_size=4, max_size=4), shares, st.floats(0, 0.95))
def test_with_momentum_it_is_the_recursion_of_the_paper(
    targets: list[float], share: float, momentum: float
) -> None:
    """v <- beta v + (mean - w), w <- w + v, in double precision."""
    run = World.settings(federation={**FEDAVG, "participation": share, "rounds": 6})
    federation = of(fedavgm(momentum), run, targets)
    weights = {name: value.double() for name, value in federation.server.weights.items()}
    velocity = {name: torch.zeros_like(value) for name, value in weights.items()}
    sizes = {name: len(site.dataset) for name, site in federation.sites.items()}
    pulled = dict(zip(World.names, targets, strict=True))
    for k in range(6):
        federation.play_round(k)
        asked = federation.plan.asked(k)
        images = sum(sizes[name] for name in asked)
        for name, value in weights.items():
            mean = sum(sizes[s] * (0.9 * value + 0.1 * pulled[s]) for s in asked) / images
            velocity[name] = momentum * velocity[name] + (mean - value)
            weights[name] = value + velocity[name]
        wanted = {name: value.float() for name, value in weights.items()}
        torch.testing.assert_close(federation.server.weights, wanted, rtol=1e-4, atol=1e-4)


def test_a_resumed_run_goes_on_with_its_momentum() -> None:
    run = World.settings(federation={**FEDAVG, "rounds": 5})
    whole = played(fedavgm(0.8), run)
    first = of(fedavgm(0.8), run, None)
    for k in range(3):
        first.play_round(k)
    second = of(fedavgm(0.8), run, None)
    second.resume(3, first.states())
    second.train()
    assert bits(second) == bits(whole)


# What it must keep to.


def twice(site: Site, round_index: int) -> Steps[RoundStats]:
    """As on the page, after a training that no plan has."""
    site.train_locally(round_index)
    stats: RoundStats = yield from FEDAVGM.site_round(site, round_index)
    return stats


def test_steps_beyond_the_plan_are_refused_by_the_ledger(make_run: Any, here: Path) -> None:
    run = RunConfig.model_validate(make_run(**FEDAVG).model_dump() | {"privacy": DP})
    greedy = Algorithm(twice, fedavg_server_round, fedavgm(0).publication)
    with pytest.raises(QuorumLost, match="its plan has 0 of 3 left"):
        run_in_process(run, here / "sites", here / "out", protect=ByLedger(), algorithm=greedy)
    spent = [e for e in read_events(here / "out/events.jsonl") if e["event"] == "privacy_spent"]
    assert [event["steps"] for event in spent] == [3] * 4  # of three rounds, one each


def test_a_run_goes_on_with_the_algorithm_that_it_began_with(make_run: Any, here: Path) -> None:
    class Killed(Exception):
        pass

    def stop(event: Mapping[str, Any]) -> None:
        if event["event"] == "checkpoint" and event["round"] == 1:
            raise Killed

    run, sites = make_run(**FEDAVG), here / "sites"
    begin = partial(run_in_process, run, sites, algorithm=fedavgm(0.9))
    with pytest.raises(Killed):
        begin(here / "out", listeners=(stop,))
    for other in (None, Algorithm(FEDAVGM.site_round, fedavg_server_round, name="other")):
        with pytest.raises(ConfigError, match=r"began with algorithm 'fedavgm 0\.9', and would"):
            run_in_process(run, sites, here / "out", resume=True, algorithm=other)
    begin(here / "out", resume=True)
    begin(here / "whole")
    resumed, whole = (load_file(here / f / "model.safetensors") for f in ("out", "whole"))
    assert distance(resumed, whole) == 0


def test_noise_in_shares_has_rounds_of_its_own(make_run: Any) -> None:
    run = make_run(**FEDAVG).model_dump()
    run["training"] |= {"momentum": 0}
    shared = {"dp": {"noise_multiplier": 1.0}, "secagg": {"noise_shares": {"honest": 3}}}
    parsed = RunConfig.model_validate(run | {"privacy": shared})
    plan = plan_exchanges(parsed, World.names)
    with pytest.raises(ConfigError, match=r"'fedavgm 0\.9' was handed in, and"):
        algorithm_for(parsed, plan, fedavgm(0.9))


@pytest.mark.slow
def test_it_gets_into_run_files_as_the_page_says(
    make_run: Any, four_hospitals: Path, tmp_path: Path
) -> None:
    """In a copy of the packages: the file moved, one line in ``rounds``, one name in the config."""
    copy = tmp_path / "copy"
    for package in ("fedefm", "privacy", "provisioning", "nvflare_jobs"):
        shutil.copytree(PAGE.parents[1] / package, copy / package)
    rounds, config = copy / "fedefm/train/rounds", copy / "fedefm/config/federation.py"
    (rounds / "fedavgm.py").write_text(blocks()[0])
    insert(rounds / "__init__.py", "from fedefm.train.rounds.fedavgm import fedavgm\n", "from ")
    insert(rounds / "__init__.py", '"fedavgm": fedavgm(0.9),\n        ', '"none": Algorithm(')
    insert(config, '"fedavgm", ', '"none"] = "fedefm"')
    insert(config, '"fedavgm", ', '"stagewise"),')

    run = make_run(**FEDAVG).model_dump(mode="json") | {"privacy": SECAGG}
    run["federation"]["algorithm"] = "fedavgm"
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    out = tmp_path / "out"
    order = ["run", tmp_path / "run.yaml", "--sites", four_hospitals, "--out", out]
    command = [sys.executable, "-m", "nvflare_jobs.cli", *map(str, order)]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    told = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert result_of(out)["algorithm"] == "fedavgm"
    usual = RunConfig.model_validate(make_run(**FEDAVG).model_dump() | {"privacy": SECAGG})
    handed = run_in_process(
        usual, four_hospitals, tmp_path / "handed", hide=BySecureSums(None), algorithm=fedavgm(0.9)
    )
    models = [load_file(folder / "model.safetensors") for folder in (out, handed)]
    assert distance(*models) < CLOSE  # sums round at random


def insert(path: Path, line: str, before: str) -> None:
    """Put ``line`` in front of the first place of ``before``."""
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, line + before, 1))

"""What a site's budget leaves is told only where the site's own file says so."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedefm.config import PolicyConfig, RunConfig
from fedefm.errors import PolicyRefused
from fedefm.events import read_events
from nvflare_jobs.parties.answers import check_answer, tellable

METRICS = ["loss", "accuracy", "images", "seconds", "similarity"]


@pytest.fixture
def hospitals(tmp_path: Path, hospitals: Path) -> Path:
    folder = Path(shutil.copytree(hospitals, tmp_path / "sites"))
    for site, policy in {
        "hosp-a": {"epsilon_cap": 50, "delta": 1e-2, "allowed_metrics": [*METRICS, "budget"]},
        "hosp-b": {"epsilon_cap": 50, "delta": 1e-2},
        "hosp-c": {"allowed_metrics": ["budget"], "delta": 1e-2},
    }.items():
        path = folder / site / "fedefm_site.yaml"
        settings = {**yaml.safe_load(path.read_text()), "ledger": "ledger.sqlite", "policy": policy}
        path.write_text(yaml.safe_dump(settings))
    return folder


def test_only_who_names_the_budget_tells_it(
    job_of: Any, tiny_run: RunConfig, hospitals: Path
) -> None:
    dp = {"noise_multiplier": 1.5, "patients_per_step": 6}
    run = RunConfig.model_validate({**tiny_run.model_dump(), "privacy": {"dp": dp}})
    job = job_of(run)
    job.conduct()
    told: dict[str, Any] = {}
    for event in read_events(job.folder / "events.jsonl"):
        if event["event"] == "budget":
            told.setdefault(event["site"], []).append(event)
    assert set(told) == {"hosp-a", "hosp-c"}
    assert all(0 < event["left"] < event["cap"] == 50 for event in told["hosp-a"])
    assert told["hosp-c"][0]["left"] is told["hosp-c"][0]["cap"] is None


def test_the_gate_stops_a_budget_that_the_site_keeps(tiny_run: RunConfig) -> None:
    answer = {"budget": {"left": 2.0, "cap": 8.0, "delta": 1e-5}}
    kept = tellable(PolicyConfig(), tiny_run, private=True)
    with pytest.raises(PolicyRefused, match="keeps budget"):
        check_answer(answer, kept, private=True)
    allowed = tellable(PolicyConfig(allowed_metrics=("budget",)), tiny_run, private=True)
    check_answer(answer, allowed, private=True)

"""A site decides whether it takes part, whatever a job says."""

from pathlib import Path

import pytest
import yaml

from fedefm.config import RunConfig
from fedefm.errors import BudgetExhausted, ConfigError, PolicyRefused
from nvflare_jobs.parties.site_work import SiteWork
from nvflare_jobs.parties.terms import terms_for
from privacy.ledger import Dataset, Ledger

SITES = ("hosp-a", "hosp-b", "hosp-c")


def work(hospitals: Path, tmp_path: Path, run, policy=None, encrypted=False, simulated=True):
    settings = {
        "datasets": {"pretraining": {"manifest": str(hospitals / "hosp-a" / "manifest.csv")}},
        "policy": policy or {},
    }
    file = tmp_path / "fedefm_site.yaml"
    file.write_text(yaml.safe_dump(settings))
    terms = terms_for(run, SITES)
    return SiteWork("hosp-a", terms, file, tmp_path / "state", encrypted, simulated)


def test_tells_its_holdings_only_where_its_policy_allows_it(hospitals, tmp_path, tiny_run) -> None:
    site = work(hospitals, tmp_path, tiny_run, {"allowed_metrics": ["seconds"]})
    assert "holdings" not in site.ready()
    assert "holdings" in work(hospitals, tmp_path, tiny_run).ready()


def test_refuses_to_run_unencrypted_outside_a_simulation(hospitals, tmp_path, tiny_run) -> None:
    with pytest.raises(PolicyRefused, match="encryption"):
        work(hospitals, tmp_path, tiny_run, simulated=False)
    work(hospitals, tmp_path, tiny_run, encrypted=True, simulated=False)


def test_refuses_a_run_without_differential_privacy(hospitals, tmp_path, tiny_run) -> None:
    with pytest.raises(PolicyRefused, match="differential privacy"):
        work(hospitals, tmp_path, tiny_run, {"require_dp": True})


def test_refuses_a_dataset_that_it_does_not_have(hospitals, tmp_path, tiny_run) -> None:
    other = tiny_run.model_copy(update={"dataset": "angiography"})
    with pytest.raises(ConfigError, match="'angiography' is not in"):
        work(hospitals, tmp_path, other)


def test_cannot_resume_what_it_has_not_saved(hospitals, tmp_path, tiny_run) -> None:
    with pytest.raises(ConfigError, match="cannot go on after round 3"):
        work(hospitals, tmp_path, tiny_run).start(3)


def private(run):
    dp = {"noise_multiplier": 1.0, "patients_per_step": 4}
    return RunConfig.model_validate({**run.model_dump(), "privacy": {"dp": dp}})


def private_work(hospitals: Path, tmp_path: Path, run, policy=None):
    file = tmp_path / "fedefm_site.yaml"
    settings = {
        "datasets": {"pretraining": {"manifest": str(hospitals / "hosp-a" / "manifest.csv")}},
        "ledger": "ledger.sqlite",
        "policy": policy or {},
    }
    file.write_text(yaml.safe_dump(settings))
    return SiteWork("hosp-a", terms_for(run, SITES), file, tmp_path / "state", False, True)


def test_a_private_run_without_a_ledger_is_refused(hospitals, tmp_path, tiny_run) -> None:
    with pytest.raises(PolicyRefused, match="no epsilon ledger"):
        work(hospitals, tmp_path, private(tiny_run))


def test_a_private_site_tells_nothing_of_its_training_images(hospitals, tmp_path, tiny_run) -> None:
    site = private_work(hospitals, tmp_path, private(tiny_run))
    assert "holdings" not in site.ready()
    trained = site.start(0).site
    assert trained.present.all()
    assert not trained.measures
    site.close()


def test_a_private_site_that_cannot_afford_the_rounds_does_not_begin(
    hospitals, tmp_path, tiny_run
) -> None:
    site = private_work(hospitals, tmp_path, private(tiny_run), {"epsilon_cap": 0.5})
    with pytest.raises(BudgetExhausted, match="site 'hosp-a'"):
        site.start(0)
    with Ledger.open(tmp_path / "ledger.sqlite", "hosp-a", read_only=True) as ledger:
        assert not ledger.reserved(Dataset("pretraining", "patient"))

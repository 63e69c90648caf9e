"""A job that the site cannot afford is refused where it is deployed, in words, before it runs."""

import io
import shutil
import zipfile

import pytest
from nvflare.private.fed.utils.app_authz import AppAuthzService

from fedefm.config import RunConfig
from nvflare_jobs.components.budget_guard import BudgetGuard
from privacy.accountant import epsilon
from privacy.ledger import Budget, RunLabel
from privacy.mechanism import Mechanism

STEP = Mechanism(2.0, 0.5, 12, 12)  # of the runs here: 12 patients, 6 of them expected in a step
STEPS = 4  # three rounds, and one guest
WHOLE = epsilon({STEP: STEPS}, 1e-5)


@pytest.fixture(autouse=True)
def without_authorization(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLARE's own rules about submitters are not the guard's."""
    monkeypatch.setattr(AppAuthzService, "authorize_app_info", lambda **job: (True, ""))


def deploy(kit, run, resume=False) -> str:
    return deploy_packed(kit, kit.packed(kit.app_of(run, resume)))


def deploy_packed(kit, app: bytes) -> str:
    return BudgetGuard().deploy(kit.workspace, kit.job, {}, f"app_{kit.site}", app, kit.context)


def files(kit) -> set:
    return {path for path in kit.root.rglob("*") if path.is_file()}


def test_a_job_that_fits_is_deployed_and_nothing_is_planned_yet(kit, tiny_run) -> None:
    kit.set(policy={"epsilon_cap": WHOLE * 1.001})
    before = files(kit)
    assert deploy(kit, kit.private(tiny_run)) == ""
    assert {path.name for path in files(kit) - before} == {
        "config_fed_client.json",
        "fl_app.txt",
        "meta.json",
    }


@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_job_that_exceeds_what_is_left_is_refused_and_leaves_no_trace(
    kit, tiny_run, steps_before
) -> None:
    cap = WHOLE * (1.001 if steps_before else 0.999)
    kit.set(policy={"epsilon_cap": cap, "allowed_metrics": ["budget"]})
    for _ in range(steps_before):
        kit.spend(run_id="1f" * 16)
    before = files(kit)
    told = deploy(kit, kit.private(tiny_run))
    assert told.startswith("BudgetExhausted: ")
    assert "may spend epsilon" in told
    assert f"({STEPS} steps)" in told
    assert files(kit) == before


def test_what_is_left_is_told_to_the_sites_own_log_alone_where_the_site_keeps_its_budget(
    kit, tiny_run, caplog
) -> None:
    kit.set(policy={"epsilon_cap": WHOLE * 0.999})
    told = deploy(kit, kit.private(tiny_run))
    assert told == (
        f"BudgetExhausted: this run wants epsilon {WHOLE:.3f} ({STEPS} steps), which would exceed "
        "what the site's epsilon cap leaves. Train fewer steps or with more noise, or ask the "
        "site's privacy officer"
    )
    assert f"may spend epsilon {WHOLE * 0.999:g}" in caplog.text


def test_files_of_the_site_are_named_without_their_folders(kit, tiny_run) -> None:
    unknown = kit.private(tiny_run).model_copy(update={"dataset": "angiography"})
    told = deploy(kit, unknown)
    assert "is not in fedefm_site.yaml, which knows pretraining" in told


def test_a_slip_in_the_site_file_is_told_without_what_stands_there(kit, tiny_run) -> None:
    kit.site_file.write_text("policy: {epsilon_cap: 3.7")
    told = deploy(kit, kit.private(tiny_run))
    assert told.startswith("SiteFileError: the site's own file, fedefm_site.yaml, cannot be used")
    assert "3.7" not in told


def test_what_open_plans_of_others_reserve_is_not_left(kit, tiny_run) -> None:
    kit.set(policy={"epsilon_cap": WHOLE * 1.5, "allowed_metrics": ["budget"]})
    with kit.ledger() as ledger:
        others = RunLabel("1f" * 16, "another")
        ledger.plan(kit.patients, others, STEP, 8, Budget(None, 1e-5, "add_or_remove_one"))
    assert "reserved by open plans" in deploy(kit, kit.private(tiny_run))


def test_a_resumed_run_that_still_has_its_plan_needs_no_second_one(kit, tiny_run) -> None:
    kit.set(policy={"epsilon_cap": WHOLE * 1.001})
    kit.begin(kit.private(tiny_run))
    with kit.ledger() as ledger:
        own = RunLabel(kit.run_id, "tiny")
        ledger.plan(kit.patients, own, STEP, STEPS, Budget(None, 1e-5, "add_or_remove_one"))
    assert deploy(kit, kit.private(tiny_run), resume=True) == ""
    assert "BudgetExhausted" in deploy(kit, kit.private(tiny_run), resume=False)


def test_the_sites_policy_speaks_before_anything_runs(kit, tiny_run) -> None:
    kit.set(policy={"require_dp": True})
    assert "requires differential privacy" in deploy(kit, tiny_run)
    kit.set(policy={})
    unknown = kit.private(tiny_run).model_copy(update={"dataset": "angiography"})
    assert "dataset 'angiography' is not in" in deploy(kit, unknown)
    kit.set(ledger=None)
    assert "no epsilon ledger" in deploy(kit, kit.private(tiny_run))
    assert deploy(kit, tiny_run) == ""


def test_a_job_in_which_the_site_would_not_be_hidden_is_refused(kit, make_run) -> None:
    run = make_run(scenario="client_server", algorithm="fedavg")
    run = RunConfig.model_validate({**run.model_dump(), "privacy": {"secagg": {}}})
    assert deploy(kit, run) == ""
    kit.set(policy={"min_cohort": 3})
    assert "policy.min_cohort" in deploy(kit, run)


def test_a_job_that_does_not_allow_for_a_site_of_this_size_is_refused(kit, make_run) -> None:
    run = make_run(scenario="client_server", algorithm="fedavg")
    for privacy in (run.privacy, kit.private(run).privacy):
        settings = {**privacy.model_dump(), "secagg": {"largest_site": 1}}
        small = RunConfig.model_validate({**run.model_dump(), "privacy": settings})
        assert "has more to train on than privacy.secagg.largest_site, 1, " in deploy(kit, small)


def test_a_ledger_in_doubt_refuses(kit, tiny_run) -> None:
    kit.set(policy={"epsilon_cap": 50.0})
    kit.spend()
    ledger = kit.root / "local" / "ledger.sqlite"
    shutil.copy(ledger, kit.root / "older.sqlite")
    kit.spend()
    shutil.copy(kit.root / "older.sqlite", ledger)
    told = deploy(kit, kit.private(tiny_run))
    assert "restored from an older copy" in told
    assert str(kit.root) not in told


def test_what_is_no_job_of_this_project_is_refused(kit, tiny_run) -> None:
    app = kit.app_of(tiny_run)
    server = kit.packed(app.parent / "app_server")
    assert "no job of this project" in deploy_packed(kit, server)
    assert "no job of this project" in deploy_packed(kit, b"no zip file")
    config = app / "config" / "config_fed_client.json"
    config.write_text(config.read_text().replace('"components": []', '"components": [{"id": "x"}]'))
    assert "brings components of its own" in deploy_packed(kit, kit.packed(app))


def test_a_submitters_signatures_may_come_with_a_job_and_nothing_else(kit, tiny_run) -> None:
    app = kit.app_of(tiny_run)
    for name in (".__nvfl_sig.json", "config/.__nvfl_submitter.crt"):
        (app / name).write_text("{}")
    assert "no job of this project" not in deploy_packed(kit, kit.packed(app))
    (app / "custom").mkdir()
    (app / "custom" / "own.py").write_text("")
    assert "it brings code" in deploy_packed(kit, kit.packed(app))
    (app / "custom" / "own.py").unlink()
    (app / "config" / "config_fed_client.conf").write_text("")
    told = deploy_packed(kit, kit.packed(app))
    assert "it brings config/config_fed_client.conf beside config/config_fed_client.json" in told


def test_a_zip_that_holds_its_configuration_twice_is_refused(kit, tiny_run) -> None:
    app = kit.app_of(tiny_run)
    buffer = io.BytesIO(kit.packed(app))
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.write(app / "config/config_fed_client.json", "config/config_fed_client.json")
    assert "it brings files twice" in deploy_packed(kit, buffer.getvalue())


def test_a_claim_in_the_meta_data_is_refused(kit, tiny_run) -> None:
    packed = kit.packed(kit.app_of(tiny_run))
    claimed = {"name": "tiny", "epsilon": 0.01}
    told = BudgetGuard().deploy(kit.workspace, kit.job, claimed, "app", packed, kit.context)
    assert "claims epsilon, and no site goes by a claim" in told
    image = {"launcher_spec": {kit.site: {"docker": {"image": "own"}}}}
    told = BudgetGuard().deploy(kit.workspace, kit.job, image, "app", packed, kit.context)
    assert "is the site's own matter" in told


def test_a_job_with_a_site_that_is_not_pinned_is_refused(kit, tiny_run) -> None:
    kit.set(peers={"server": f"sha256:{'0' * 64}", "hosp-b": f"sha256:{'1' * 64}"})
    assert "those of hosp-c are not among them" in deploy(kit, tiny_run)

"""A real site starts nothing without encryption, gate, and, where it is private, ledger."""

import json
from pathlib import Path

import pytest
from nvflare.apis.fl_constant import FilterKey, FLContextKey
from nvflare.private.privacy_manager import Scope

from fedefm.errors import ConfigError, FedEFMError, PolicyRefused
from nvflare_jobs.components.gate_filter import GateFilter
from nvflare_jobs.components.refusals import refuse_unguarded
from nvflare_jobs.parties import places
from provisioning.kit_files import PARENT_FILE

SITES = ("hosp-a", "hosp-b", "hosp-c")


def context(kit, secure: bool = True, gates: tuple[str, ...] = ("data", "result")):
    """What the executor meets in a job process of a kit."""
    fl_ctx, scope = kit.context, Scope()
    if "data" in gates:
        scope.add_task_data_filter(GateFilter(), FilterKey.OUT)
    if "result" in gates:
        scope.add_task_result_filter(GateFilter(), FilterKey.OUT)
    fl_ctx.set_prop(FLContextKey.SCOPE_OBJECT, scope if gates else None)
    fl_ctx.set_prop(FLContextKey.SECURE_MODE, secure)
    return fl_ctx


def deployed(kit, run) -> str:
    """The terms with which FLARE builds the executor of the job that it deployed."""
    kit.deploy(run)
    path = kit.workspace.get_client_app_config_file_path(kit.job)
    config = json.loads(Path(path).read_text())
    return config["executors"][0]["executor"]["args"]["job_terms"]


@pytest.mark.parametrize("private", [False, True])
def test_a_site_with_everything_runs(kit, tiny_run, private) -> None:
    terms = deployed(kit, kit.private(tiny_run) if private else tiny_run)
    refuse_unguarded(context(kit), terms)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("policy", [{}, {"require_encryption": False}])
@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        ({"secure": False}, "without encryption from end to end"),
        ({"gates": ()}, "without its gate"),
        ({"gates": ("data",)}, "without its gate"),
        ({"gates": ("result",)}, "without its gate"),
    ],
)
def test_no_run_begins_without_encryption_or_gate_whatever_the_policy(
    kit, tiny_run, private, policy, lacking, told
) -> None:
    kit.set(policy=policy)
    terms = deployed(kit, kit.private(tiny_run) if private else tiny_run)
    with pytest.raises(PolicyRefused, match=f"^site 'hosp-a' runs nothing {told}"):
        refuse_unguarded(context(kit, **lacking), terms)


def test_no_run_begins_where_the_sites_own_process_would_answer_anybody(kit, tiny_run) -> None:
    terms = deployed(kit, tiny_run)
    (kit.root / "local" / PARENT_FILE).write_text('{"format_version": 2, "components": []}')
    with pytest.raises(PolicyRefused, match=r"^site 'hosp-a' runs nothing without its doorkeeper"):
        refuse_unguarded(context(kit), terms)


@pytest.mark.parametrize("policy", [{"require_dp": True}, {"epsilon_cap": 8.0}, None])
def test_nothing_private_begins_without_a_ledger(kit, tiny_run, policy) -> None:
    run = kit.private(tiny_run) if policy is None else tiny_run
    terms = deployed(kit, run)
    kit.set(ledger=None, policy=policy or {})
    with pytest.raises(PolicyRefused, match="runs nothing privately without its epsilon ledger"):
        refuse_unguarded(context(kit), terms)


def test_what_is_not_private_needs_no_ledger(kit, tiny_run) -> None:
    terms = deployed(kit, tiny_run)
    kit.set(ledger=None)
    refuse_unguarded(context(kit), terms)


def test_other_terms_than_were_deployed_are_refused(kit, tiny_run, make_run) -> None:
    deployed(kit, kit.private(tiny_run))
    fl_ctx = context(kit)
    other = kit.app_of(tiny_run) / "config" / "config_fed_client.json"
    config = json.loads(other.read_text())
    with pytest.raises(ConfigError, match="other terms than the job has that was deployed"):
        refuse_unguarded(fl_ctx, config["executors"][0]["executor"]["args"]["job_terms"])


def test_only_a_simulation_is_excused(kit, tiny_run, monkeypatch, tmp_path) -> None:
    terms, nothing = deployed(kit, tiny_run), {"secure": False, "gates": ()}
    with pytest.raises(FedEFMError):
        refuse_unguarded(context(kit, **nothing), terms)
    monkeypatch.setenv(places.SITES_DIR, str(tmp_path))
    refuse_unguarded(context(kit, **nothing), terms)


def test_a_real_site_does_not_pass_for_a_simulation(kit, tiny_run, monkeypatch, tmp_path) -> None:
    terms = deployed(kit, tiny_run)
    fl_ctx = context(kit, secure=True, gates=())
    monkeypatch.setenv(places.SITES_DIR, str(tmp_path))
    with pytest.raises(PolicyRefused, match=f"{places.SITES_DIR} is set"):
        refuse_unguarded(fl_ctx, terms)

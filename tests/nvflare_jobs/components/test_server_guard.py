"""The server takes jobs of this project only, and says why it takes another not."""

import json
from pathlib import Path

import pytest
from nvflare.apis.app_validation import AppValidationKey
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from nvflare_jobs.components.server_guard import ServerGuard
from provisioning.kit_files import SERVER_GUARD


@pytest.fixture
def app(kit, tiny_run) -> Path:
    return kit.app_of(tiny_run).parent / "app_server"


def submitted(**meta) -> str | None:
    fl_ctx = FLContext()
    fl_ctx.set_prop(FLContextKey.JOB_META, meta, private=True, sticky=False)
    ServerGuard().handle_event(EventType.SUBMIT_JOB, fl_ctx)
    return fl_ctx.get_prop(FLContextKey.JOB_BLOCK_REASON)


def test_the_kit_names_the_guard() -> None:
    path = f"{ServerGuard.__module__}.{ServerGuard.__name__}"
    assert SERVER_GUARD["path"] == path


def test_an_exported_job_is_taken_with_its_signatures(app) -> None:
    assert submitted(name="tiny", min_clients=2) is None
    (app / ".__nvfl_sig.json").write_text("{}")
    assert ServerGuard().validate(str(app)) == ("", {})


def test_code_and_claims_are_blocked_at_submission() -> None:
    assert "it brings code" in str(submitted(**{AppValidationKey.BYOC: True}))
    assert "claims epsilon" in str(submitted(epsilon=0.01))
    image = {"hosp-a": {"docker": {"image": "own"}}}
    for where in ("launcher_spec", "resource_spec"):
        assert "is the site's own matter" in str(submitted(**{where: image}))
    assert submitted(resource_spec={}) is None


def test_what_is_none_of_this_projects_is_refused_at_deployment(app) -> None:
    config = app / "config" / "config_fed_server.json"
    known = json.loads(config.read_text())
    known["workflows"][0]["path"] = "nvflare.app_common.workflows.fedavg.FedAvg"
    config.write_text(json.dumps(known))
    told, _ = ServerGuard().validate(str(app))
    assert "it wants to run 'nvflare.app_common.workflows.fedavg.FedAvg' at the server" in told
    config.write_bytes(b"\xff")
    assert ServerGuard().validate(str(app))[0] != ""
    (app / "own.py").write_text("")
    assert "it brings own.py beside" in ServerGuard().validate(str(app))[0]


@pytest.mark.parametrize(
    ("section", "name", "place"),
    [
        ("federation", "topology", "../own.gml"),
        ("federation", "topology", "/srv/own.gml"),
        ("model", "start", "../weights"),
        ("", "name", "../../local"),
        ("", "dataset", "/etc/passwd"),
        ("model", "backbone", "/tmp/own.py"),
    ],
)
def test_its_submitter_reads_which_path_a_job_names(app, section, name, place) -> None:
    config = app / "config" / "config_fed_server.json"
    known = json.loads(config.read_text())
    args = known["workflows"][0]["args"]
    terms = json.loads(args["job_terms"])
    run = terms["run"]
    (run.setdefault(section, {}) if section else run)[name] = place
    args["job_terms"] = json.dumps(terms)
    config.write_text(json.dumps(known))
    told, _ = ServerGuard().validate(str(app))
    assert name in told
    assert "own log" not in told

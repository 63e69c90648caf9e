"""Whatever a site can know before an image is decoded is refused when a job is deployed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.private.fed.utils.app_authz import AppAuthzService

from fedefm import __version__
from fedefm.config import RunConfig
from fedefm.data.manifest import read_manifest, write_manifest
from nvflare_jobs.components.budget_guard import BudgetGuard


@pytest.fixture(autouse=True)
def without_authorization(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLARE's own rules about submitters are not the guard's."""
    monkeypatch.setattr(AppAuthzService, "authorize_app_info", lambda **job: (True, ""))


def deploy(kit, run: RunConfig, fl_ctx: FLContext | None = None, **meta: str) -> str:
    return deploy_app(kit, kit.app_of(run), fl_ctx, **meta)


def deploy_app(kit, app: Path, fl_ctx: FLContext | None = None, **meta: str) -> str:
    """What the guard says; where it refuses, nothing is on the disk that was not there before."""
    before = {path for path in kit.root.rglob("*") if path.is_file()}
    told = BudgetGuard().deploy(
        kit.workspace, kit.job, meta, "app", kit.packed(app), fl_ctx or kit.context
    )
    if told:
        assert {path for path in kit.root.rglob("*") if path.is_file()} == before
    return told


def dataset(kit, **entry: object) -> Path:
    """Change what the site file says of its dataset; where its manifest is."""
    known = yaml.safe_load(kit.site_file.read_text())["datasets"]["pretraining"]
    kit.set(datasets={"pretraining": {**known, **entry}})
    return Path(str(entry.get("manifest", known["manifest"])))


def test_a_job_that_nothing_speaks_against_is_deployed(kit, tiny_run) -> None:
    assert deploy(kit, tiny_run) == ""


def test_a_dataset_that_the_site_does_not_have(kit, tiny_run) -> None:
    other = tiny_run.model_copy(update={"dataset": "angiography"})
    told = BudgetGuard().deploy(
        kit.workspace, kit.job, {}, "app", kit.packed(kit.app_of(other)), kit.context
    )
    assert told.startswith("ConfigError: dataset 'angiography' is not in")


@pytest.mark.parametrize("name", ["local", "fedefm_state", "startup", "..", ""])
def test_a_job_that_is_called_as_a_folder_of_the_kit(kit, tiny_run, name: str) -> None:
    packed = kit.packed(kit.app_of(tiny_run))
    told = BudgetGuard().deploy(kit.workspace, name, {}, "app", packed, kit.context)
    assert told == f"ConfigError: {name!r} is no id that FLARE gives to a job"


def test_a_site_without_a_site_file(kit, tiny_run) -> None:
    kit.site_file.unlink()
    assert "has no fedefm_site.yaml" in deploy(kit, tiny_run)


def test_flare_without_certificates(kit, tiny_run) -> None:
    fl_ctx = kit.context
    fl_ctx.set_prop(FLContextKey.SECURE_MODE, False)
    assert "runs nothing without encryption" in deploy(kit, tiny_run, fl_ctx)


@pytest.mark.parametrize("change", ["gone", "in", "one chain", "no file", "no default"])
def test_a_site_without_its_gate(kit, tiny_run, change) -> None:
    path = kit.root / "local" / "privacy.json"
    settings = json.loads(path.read_text())
    (scope,) = settings["scopes"]
    if change == "gone":
        scope["task_data_filters"] = scope["task_result_filters"] = []
    elif change == "in":
        scope["task_data_filters"][0]["direction"] = "in"
    elif change == "one chain":
        del scope["task_result_filters"]
    elif change == "no default":
        del settings["default_scope"]
    path.write_text(json.dumps(settings))
    if change == "no file":
        path.unlink()
    assert "runs nothing without its gate" in deploy(kit, tiny_run)


def test_a_scope_of_the_job_without_the_gate(kit, tiny_run) -> None:
    path = kit.root / "local" / "privacy.json"
    settings = json.loads(path.read_text())
    settings["scopes"].append({"name": "loose", "properties": {}})
    path.write_text(json.dumps(settings))
    assert "in the scope of the job" in deploy(kit, tiny_run, scope="loose")


def test_a_manifest_that_cannot_be_used_is_told_without_its_rows(kit, tiny_run) -> None:
    folder = kit.root.parent / "data"
    shutil.copytree(Path(dataset(kit)).parent, folder)
    manifest = dataset(kit, manifest=str(folder / "manifest.csv"))
    assert deploy(kit, tiny_run) == ""
    manifest.write_text(manifest.read_text().replace(".png", "-of-somebody.png"))
    for run in (tiny_run, kit.private(tiny_run)):
        told = deploy(kit, run)
        assert told.startswith("DataError: the site cannot use its images or manifest")
        assert "somebody" not in told


def test_labels_that_the_run_does_not_know(kit, tiny_run) -> None:
    model = tiny_run.model.model_copy(update={"classes": ("disk",)})
    told = deploy(kit, tiny_run.model_copy(update={"model": model}))
    assert "model.classes does not name them" in told


def test_several_labels_of_an_image_are_one_kind_as_in_training(kit, tiny_run) -> None:
    folder = kit.root.parent / "data"
    shutil.copytree(Path(dataset(kit)).parent, folder)
    manifest = dataset(kit, manifest=str(folder / "manifest.csv"))
    corpora = {row.corpus for row in read_manifest(manifest).rows}
    rows = [replace(row, label="a|b") for row in read_manifest(manifest).rows]
    write_manifest(manifest, rows)
    model = tiny_run.model.model_copy(update={"classes": tuple(sorted(corpora))})
    assert deploy(kit, tiny_run.model_copy(update={"model": model})) == ""
    sets = tiny_run.model.model_copy(update={"classes": ("a", "b")})
    told = deploy(kit, tiny_run.model_copy(update={"model": sets}))
    assert f"images of {', '.join(sorted(corpora))} in dataset" in told


def test_what_a_site_publishes_spares_a_private_run_its_manifest(kit, tiny_run) -> None:
    run = kit.private(tiny_run)
    gone = dataset(kit, manifest="gone.csv", patients=12, labels=list(run.model.classes))
    assert deploy(kit, run) == ""
    assert not gone.exists()
    dataset(kit, labels=["something else"])
    assert "something else" in deploy(kit, run)


def test_a_ledger_that_cannot_be_made(kit, tiny_run, caplog) -> None:
    kit.set(ledger="not/yet/ledger.sqlite")
    assert "stays in the site's own log" in deploy(kit, kit.private(tiny_run))
    assert "not/yet does not exist" in caplog.text
    assert deploy(kit, tiny_run) == ""


def test_a_ledger_that_is_gone(kit, tiny_run) -> None:
    kit.spend()
    (kit.root / "local" / "ledger.sqlite").unlink()
    assert "is gone or empty" in deploy(kit, kit.private(tiny_run))


def test_a_job_of_another_release(kit, tiny_run) -> None:
    app = kit.app_of(tiny_run)
    config = app / "config" / "config_fed_client.json"
    named = f'\\"toolkit\\":\\"{__version__}\\"'
    assert named in config.read_text()
    config.write_text(config.read_text().replace(named, '\\"toolkit\\":\\"99.0.0\\"'))
    told = deploy_app(kit, app)
    assert told.startswith("ConfigError: the job was made with fedefm '99.0.0'")


def test_a_certificate_that_is_not_the_sites_own(kit, tiny_run, caplog) -> None:
    (kit.root / "startup" / "client.key").unlink()
    told = BudgetGuard().deploy(
        kit.workspace, kit.job, {}, "app", kit.packed(kit.app_of(tiny_run)), kit.context
    )
    assert told.startswith("ProvisionError: ")
    assert str(kit.root) not in told
    assert "client.key cannot be read" in caplog.text


def test_a_site_that_is_called_as_the_server_is(kit, tiny_run) -> None:
    settings = kit.root / "startup" / "fed_client.json"
    settings.write_text(json.dumps({"servers": [{"identity": "hosp-b"}]}))
    assert "are both called 'hosp-b'" in deploy(kit, tiny_run)

"""A hospital's FLARE kit on disk, with a site file, a ledger and a job that FLARE deployed."""

import io
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.workspace import Workspace

from fedefm.config import RunConfig
from nvflare_jobs.jobs.pretrain import export_job
from nvflare_jobs.parties import places
from nvflare_jobs.parties.saved_run import SavedRun
from nvflare_jobs.parties.terms import terms_for
from privacy.identity import ThrowAwayRoot
from privacy.ledger import Budget, Dataset, Ledger, RunLabel
from privacy.mechanism import Mechanism
from provisioning.kit_files import DOORKEEPER, PARENT_FILE

SITES = ("hosp-a", "hosp-b", "hosp-c")
SITE, JOB, RUN_ID = "hosp-a", "3f6c2a90-0000-4000-8000-000000000001", "0f" * 16
PATIENTS = Dataset("pretraining", "patient")
STEP = Mechanism(2.0, 0.5, 12, 12)
BUDGET = Budget(None, 1e-5, "add_or_remove_one")
GATE = {
    "path": "nvflare_jobs.components.gate_filter.GateFilter",
    "args": {},
    "direction": "out",
}
SCOPE = {"name": "fedefm", "task_data_filters": [GATE], "task_result_filters": [GATE]}
PRIVACY = {"scopes": [{**SCOPE, "properties": {}}], "default_scope": "fedefm"}


@dataclass(frozen=True)
class Kit:
    """The folder of one site, with what tests say of its job."""

    root: Path
    site: str = SITE
    job: str = JOB
    run_id: str = RUN_ID
    patients: Dataset = PATIENTS

    @property
    def site_file(self) -> Path:
        return self.root / "local" / "fedefm_site.yaml"

    @property
    def workspace(self) -> Workspace:
        return Workspace(str(self.root), SITE)

    @property
    def context(self) -> FLContext:
        """What a filter meets in a job process."""
        fl_ctx, workspace = FLContext(), self.workspace
        fl_ctx.set_prop(ReservedKey.IDENTITY_NAME, SITE)
        fl_ctx.set_prop(ReservedKey.RUN_NUM, JOB)
        fl_ctx.set_prop(FLContextKey.SECURE_MODE, True)
        fl_ctx.get_engine = lambda: SimpleNamespace(get_workspace=lambda: workspace)
        return fl_ctx

    def set(self, **settings: Any) -> None:
        """Change the site file."""
        known = yaml.safe_load(self.site_file.read_text())
        self.site_file.write_text(yaml.safe_dump({**known, **settings}))

    def ledger(self) -> Ledger:
        return Ledger.open(self.root / "local" / "ledger.sqlite", SITE)

    def spend(self, run_id: str = RUN_ID) -> str:
        """One settled step of a run that goes on; the mechanism of a message made after it."""
        with self.ledger() as ledger:
            account = ledger.account(PATIENTS, run_id) or ledger.plan(
                PATIENTS, RunLabel(run_id, "tiny", JOB), STEP, 10, BUDGET
            )
            account.settle(account.reserve(1), 1)
            return f"dp:{account.reference()}"

    def begin(self, run: RunConfig) -> None:
        """Let ``run`` have begun at this site, under ``RUN_ID``."""
        state = places.state_folder(SITE, run.name, self.root)
        saved = SavedRun(SITE, state, terms_for(run, SITES))
        saved.run_id = RUN_ID
        saved.begin()

    def app_of(self, run: RunConfig, resume: bool = False) -> Path:
        """The app of a job for ``run``, as its author exports it."""
        folder = self.root.parent / "jobs"
        shutil.rmtree(folder, ignore_errors=True)
        return export_job(terms_for(run, SITES, resume), folder) / f"app_{SITE}"

    @staticmethod
    def packed(app: Path) -> bytes:
        """An app as the server sends it."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for path in sorted(app.rglob("*")):
                archive.write(path, path.relative_to(app))
        return buffer.getvalue()

    @staticmethod
    def private(run: RunConfig, **dp: Any) -> RunConfig:
        """``run`` with differential privacy; its noise is set, which takes no time to find."""
        settings = {"noise_multiplier": 2.0, "patients_per_step": 6, **dp}
        return RunConfig.model_validate({**run.model_dump(), "privacy": {"dp": settings}})

    def deploy(self, run: RunConfig) -> None:
        """Put the app where FLARE puts it."""
        place = self.workspace.get_app_dir(JOB)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.app_of(run), place)


@pytest.fixture
def kit(tmp_path: Path, hospitals: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    monkeypatch.delenv(places.SITES_DIR, raising=False)
    monkeypatch.delenv(places.STATE_DIR, raising=False)
    made = Kit(tmp_path / "kit")
    for name in ("startup", "local"):
        (made.root / name).mkdir(parents=True)
    manifest = str(hospitals / SITE / "manifest.csv")
    settings = {"datasets": {"pretraining": {"manifest": manifest}}, "ledger": "ledger.sqlite"}
    made.site_file.write_text(yaml.safe_dump(settings))
    parent = {"format_version": 2, "components": [DOORKEEPER]}
    (made.root / "local" / PARENT_FILE).write_text(json.dumps(parent))
    (made.root / "local" / "privacy.json").write_text(json.dumps(PRIVACY))
    issuer = ThrowAwayRoot()
    issuer.issue(SITE)
    issuer.save(tmp_path / "issued")
    shutil.copytree(tmp_path / "issued" / SITE, made.root / "startup", dirs_exist_ok=True)
    server = {"servers": [{"name": "small", "identity": "server.hub.org"}]}
    (made.root / "startup" / "fed_client.json").write_text(json.dumps(server))
    return made

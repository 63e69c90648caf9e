"""Builders for ``nvflare provision``: what makes FLARE's stock kits fit for a hospital.

FLARE 2.9 as provisioned lets every lead bring code, streams each site's error log to the server,
keeps jobs in a world-readable folder, and notices a vanished site after ten minutes. A project file
names this builder after FLARE's own, and every kit comes out with stricter files in ``local/``.
They are the site's: whoever administers a kit can change them, and no job can.
"""

import json
from pathlib import Path
from typing import Any

from nvflare.lighter.entity import Participant
from nvflare.lighter.spec import Builder, Project, ProvisionContext

from provisioning.made_for import STAMP, stamp

ALLOWED_CLASSES = (  # those of nvflare_jobs.components; a test holds them equal
    "nvflare_jobs.components.coordinator.Coordinator",
    "nvflare_jobs.components.site_executor.SiteExecutor",
)
TENSORBOARD = "nvflare.app_opt.tracking.tb.tb_receiver.TBAnalyticsReceiver"  # server only
PROGRESS = "app_command"  # FLARE's right for a job's own commands; ours tells how a run goes on
SCOPE = "fedefm"
GATE = {
    "path": "nvflare_jobs.components.gate_filter.GateFilter",
    "args": {},
    "direction": "out",  # what leaves; FLARE's default looks at what comes in
}
GUARD = "nvflare_jobs.components.budget_guard.BudgetGuard"
LAUNCHER = "nvflare_jobs.kit.launcher.JobLauncher"  # outlives the death of a job's process
RETURNING = "nvflare_jobs.kit.returning.ReturningSite"  # and of the whole site
MADE_FOR = {"id": "made_for", "path": "nvflare_jobs.kit.made_for.MadeFor", "args": {}}
KIT_VARIABLE = "FEDEFM_KIT"  # set by the server's start script to the folder it runs in
OWN_COMPONENTS = "fedefm__p_resources.json"  # p: of the parent process
LOG_STREAMERS = ("site_log_streamer", "log_receiver")
RIGHTS: dict[str, Any] = {
    "project_admin": "any",
    "org_admin": {
        "manage_job": "o:submitter",
        "download_job": "o:submitter",
        "view": "any",
        PROGRESS: "any",
        "operate": "o:site",
        "shell_commands": "none",
        "submit_job": "none",
        "clone_job": "none",
        "byoc": "none",
    },
    "lead": {
        "submit_job": "any",
        "clone_job": "n:submitter",
        "manage_job": "n:submitter",
        "download_job": "n:submitter",
        "view": "any",
        PROGRESS: "any",
        "operate": "o:site",
        "shell_commands": "none",
        "byoc": "none",
    },
    "member": {"view": "any", PROGRESS: "any"},
}


class HardenedKitBuilder(Builder):  # type: ignore[misc]
    """Writes the files of ``local/`` that FLARE reads before its own defaults.

    Args:
        heart_beat_timeout_s: so long without a sign, and the server takes a site for gone.
    """

    def __init__(self, heart_beat_timeout_s: int = 60) -> None:
        self._heart_beat_timeout_s = heart_beat_timeout_s

    def build(self, project: Project, ctx: ProvisionContext) -> None:
        """Complete the kits of the server and of all sites. People's kits stay as FLARE's."""
        server = project.get_server()
        if server is not None:
            self._build_server(server, ctx)
        for client in project.get_clients():
            self._build_site(client, ctx)

    def _build_server(self, server: Participant, ctx: ProvisionContext) -> None:
        local = Path(ctx.get_local_dir(server))
        resources = _hardened(local)
        resources["class_allow_list"].append(TENSORBOARD)
        for each in resources["servers"]:
            each["heart_beat_timeout"] = self._heart_beat_timeout_s
        folder = f"{{${KIT_VARIABLE}}}"
        resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = (
            f"{folder}/snapshots"
        )
        (jobs,) = [each for each in resources["components"] if each["id"] == "job_manager"]
        jobs["args"]["uri_root"] = f"{folder}/jobs"
        _write(local / "resources.json", resources)
        _write(local / "authorization.json", _authorization())
        _write(local / STAMP, stamp("server"))
        _write(local / OWN_COMPONENTS, _components(MADE_FOR))
        _tell_folder(Path(ctx.get_kit_dir(server)) / "sub_start.sh")

    def _build_site(self, client: Participant, ctx: ProvisionContext) -> None:
        local = Path(ctx.get_local_dir(client))
        resources = _hardened(local)
        (launcher,) = [each for each in resources["components"] if each["id"] == "process_launcher"]
        launcher["path"] = LAUNCHER
        _write(local / "resources.json", resources)
        _write(local / "authorization.json", _authorization())
        _write(local / "privacy.json", _privacy())
        returning = {"id": "returning_site", "path": RETURNING, "args": {}}
        guard = {"id": "app_deployer", "path": GUARD, "args": {}}  # FLARE's name of what deploys
        _write(local / STAMP, stamp("site"))
        _write(local / OWN_COMPONENTS, _components(MADE_FOR, guard, returning))


def _hardened(local: Path) -> dict[str, Any]:
    """FLARE's own resources with our classes only, and without what streams logs."""
    resources: dict[str, Any] = json.loads((local / "resources.json.default").read_text("utf-8"))
    resources["class_list_enforcement_mode"] = "enforce"
    resources["class_allow_list"] = list(ALLOWED_CLASSES)
    resources["allow_log_streaming"] = False
    components = resources["components"]
    resources["components"] = [each for each in components if each["id"] not in LOG_STREAMERS]
    return resources


def _authorization() -> dict[str, Any]:
    return {"format_version": "1.0", "permissions": RIGHTS}


def _privacy() -> dict[str, Any]:
    scope = {
        "name": SCOPE,
        "properties": {},
        "task_data_filters": [GATE],
        "task_result_filters": [GATE],
    }
    return {"scopes": [scope], "default_scope": SCOPE}


def _components(*components: dict[str, Any]) -> dict[str, Any]:
    return {"format_version": 2, "components": list(components)}


def _tell_folder(script: Path) -> None:
    """Let the server's settings name folders of its own kit, wherever it is installed."""
    text = script.read_text("utf-8")
    before = "start_python() {\n"
    told = f'export {KIT_VARIABLE}="$WORKSPACE"\n'
    script.write_text(text.replace(before, told + before), encoding="utf-8")


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")

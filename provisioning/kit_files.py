"""The stricter files of a kit: of one that is being made, and of one that FLARE has made.

FLARE reads a file of ``local/`` before its own default beside it. All of this is the site's: who
administers a kit can change it, and no job can.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedefm.errors import ProvisionError
from provisioning.certificates import made_on
from provisioning.made_for import STAMP, stamp
from provisioning.private_places import FILE, FOLDER
from provisioning.rights import authorization, refused_people
from provisioning.site_text import site_text

ALLOWED_CLASSES = (  # those of nvflare_jobs.components; a test holds them equal
    "nvflare_jobs.components.coordinator.Coordinator",
    "nvflare_jobs.components.site_executor.SiteExecutor",
)
TENSORBOARD = "nvflare.app_opt.tracking.tb.tb_receiver.TBAnalyticsReceiver"
SERVER_CLASSES = (*ALLOWED_CLASSES, TENSORBOARD)  # what draws a run's figures, nowhere else
SCOPE = "fedefm"
GATE = {
    "path": "nvflare_jobs.components.gate_filter.GateFilter",
    "args": {},
    "direction": "out",  # what leaves; FLARE's default looks at what comes in
}
LAUNCHER = "nvflare_jobs.kit.launcher.JobLauncher"  # outlives the death of a job's process
GUARD = {  # under FLARE's name of what deploys a job
    "id": "app_deployer",
    "path": "nvflare_jobs.components.budget_guard.BudgetGuard",
    "args": {},
}
SERVER_GUARD = {  # FLARE's app_validator: sees each job that is submitted, and deployed there
    "path": "nvflare_jobs.components.server_guard.ServerGuard",
    "args": {},
}
RETURNING = {  # goes on with jobs after the whole site was away
    "id": "returning_site",
    "path": "nvflare_jobs.kit.returning.ReturningSite",
    "args": {},
}
MADE_FOR = {  # starts with no other releases than those that the kit was made for
    "id": "made_for",
    "path": "nvflare_jobs.kit.made_for.MadeFor",
    "args": {},
}
LOST_JOBS = {  # says of jobs that ran when the server ended that they are over
    "id": "lost_jobs",
    "path": "nvflare_jobs.kit.lost_jobs.LostJobs",
    "args": {},
}
DOORKEEPER = {  # answers the hub alone, whatever FLARE would answer anybody
    "id": "doorkeeper",
    "path": "nvflare_jobs.kit.doorkeeper.Doorkeeper",
    "args": {},
}
PARENT_COMPONENTS = (MADE_FOR, DOORKEEPER, GUARD, RETURNING)  # of a site
SERVER_COMPONENTS = (MADE_FOR, LOST_JOBS)  # of the server
SITE_FILE = "fedefm_site.yaml"
PARENT_FILE = "fedefm__p_resources.json"  # components of the site's own process, not of jobs
DISABLED_FILE = "disabled_clients.json"  # FLARE's list of sites that may not register
KIT_VARIABLE = "FEDEFM_KIT"  # set by the server's start script to the folder it runs in
LOG_STREAMERS = ("site_log_streamer", "log_receiver")
HEART_BEAT_S = 60
OUTCOMES_S = 5.0  # for sites' words on how a job ended: one that is dead would spoil its status
ADMIN_TIMEOUT_S = 30.0  # within which sites must have checked a job that is deployed; FLARE has 10


def server_settings(
    local: Path, heart_beat_timeout_s: int = HEART_BEAT_S
) -> dict[str, dict[str, Any]]:
    """What the files of a server's ``local`` say beside FLARE's defaults there, by name."""
    folder = f"{{${KIT_VARIABLE}}}"
    with _flares_defaults(local) as resources:
        _harden(resources, SERVER_CLASSES)
        for each in resources["servers"]:
            each["heart_beat_timeout"] = heart_beat_timeout_s
            each["admin_timeout"] = ADMIN_TIMEOUT_S
        storage = resources["snapshot_persistor"]["args"]["storage"]
        storage["args"]["root_dir"] = f"{folder}/snapshots"
        (jobs,) = [each for each in resources["components"] if each["id"] == "job_manager"]
        jobs["args"]["uri_root"] = f"{folder}/jobs"
    parent = {
        "format_version": 2,
        "app_validator": SERVER_GUARD,
        "components": [*SERVER_COMPONENTS],
    }
    return {"resources.json": resources, PARENT_FILE: parent}


def site_settings(local: Path) -> dict[str, dict[str, Any]]:
    """What the files of a hospital's ``local`` say beside FLARE's defaults there, by name."""
    with _flares_defaults(local) as resources:
        _harden(resources, ALLOWED_CLASSES)
        (launcher,) = [each for each in resources["components"] if each["id"] == "process_launcher"]
        launcher["path"] = LAUNCHER
    return {
        "resources.json": resources,
        "authorization.json": authorization(),
        "privacy.json": privacy_settings(),
        PARENT_FILE: {"format_version": 2, "components": [*PARENT_COMPONENTS]},
    }


def harden_server(
    kit: Path, heart_beat_timeout_s: int = HEART_BEAT_S, retired: Sequence[str] = ()
) -> None:
    """Complete the server's kit. ``retired`` sites and people are refused, for ever.

    Raises ProvisionError where FLARE's files in it cannot be read, before anything is changed.
    """
    settings = server_settings(kit / "local", heart_beat_timeout_s)
    refuse_retired(kit, retired)
    for name, data in settings.items():
        _write(kit / "local" / name, data)
    _tell_folder(kit / "startup" / "sub_start.sh")
    _finish(kit, "server")


def refuse_retired(server_kit: Path, retired: Sequence[str]) -> None:
    """Let a server, once it is started again, refuse these; those it refuses already stay so.

    Raises as ``refused_at``, before anything is changed.
    """
    known = {*retired, *refused_at(server_kit)}
    people = {name for name in known if "@" in name}
    sites = known - people
    _write(server_kit / "local" / "authorization.json", authorization(sorted(people)))
    if sites:
        _write(server_kit / DISABLED_FILE, {"disabled_clients": sorted(sites)})


def refused_at(server_kit: Path) -> set[str]:
    """Whom a server refuses already. Raises ProvisionError where a file of its cannot tell."""
    rights, listed = server_kit / "local" / "authorization.json", server_kit / DISABLED_FILE
    refused: set[str] = set()
    try:
        if (path := rights).is_file():
            told = json.loads(rights.read_text(encoding="utf-8"))
            refused |= set(refused_people(told["permissions"]))
        if (path := listed).is_file():
            refused |= set(json.loads(listed.read_text(encoding="utf-8"))["disabled_clients"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ProvisionError(
            f"{path} does not tell whom the server refuses ({error!r}); put it back from a backup, "
            "or from the server's kit as it was made"
        ) from None
    return refused


def harden_site(kit: Path, name: str) -> None:
    """Complete a hospital's kit. A site file that is there already stays as it is.

    Raises ProvisionError where FLARE's files in it cannot be read, before anything is changed.
    """
    local = kit / "local"
    for file, data in site_settings(local).items():
        _write(local / file, data)
    if not (local / SITE_FILE).exists() or (local / SITE_FILE).stat().st_size == 0:
        (local / SITE_FILE).write_text(site_text(name), encoding="utf-8")
        (local / SITE_FILE).chmod(FILE)
    _finish(kit, "site")


def harden_person(kit: Path) -> None:
    """Complete the kit of somebody who logs in."""
    _finish(kit, "person")


def _finish(kit: Path, role: str) -> None:
    """Stamp it, and let nobody but its owner in."""
    certificate = kit / "startup" / ("server.crt" if role == "server" else "client.crt")
    made = {"made": made_on(certificate)} if certificate.is_file() else {}
    (kit / "local").mkdir(exist_ok=True)
    _write(kit / "local" / STAMP, {**stamp(role), **made})
    for folder in (kit, *(kit / name for name in ("startup", "local", "transfer"))):
        if folder.is_dir():
            folder.chmod(FOLDER)
    for key in (kit / "startup").glob("*.key"):
        key.chmod(FILE)


@contextmanager
def _flares_defaults(local: Path) -> Iterator[dict[str, Any]]:
    """FLARE's own settings in ``local``, to be changed. Raises ProvisionError for others."""
    path = local / "resources.json.default"
    try:
        yield json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ProvisionError(
            f"{path} is not as FLARE writes it ({error!r}), so that nothing can be compared with "
            "it or made of it; install the kit again, as it was handed over"
        ) from None


def _harden(resources: dict[str, Any], classes: Sequence[str]) -> None:
    """Let there be these classes only, and nothing that streams logs."""
    resources["class_list_enforcement_mode"] = "enforce"
    resources["class_allow_list"] = list(classes)
    resources["allow_log_streaming"] = False
    components = resources["components"]
    resources["components"] = [each for each in components if each["id"] not in LOG_STREAMERS]


def privacy_settings() -> dict[str, Any]:
    """What a hospital's ``privacy.json`` says: the gate looks at all that leaves."""
    scope = {
        "name": SCOPE,
        "properties": {},
        "task_data_filters": [GATE],
        "task_result_filters": [GATE],
    }
    return {"scopes": [scope], "default_scope": SCOPE}


def _tell_folder(script: Path) -> None:
    """Let the server's settings name folders of its own kit, wherever it is installed."""
    text = script.read_text("utf-8")
    before = "start_python() {\n"
    told = f'export {KIT_VARIABLE}="$WORKSPACE"\n'
    told += f"export NVFLARE_CLIENT_OUTCOME_WAIT_TIMEOUT={OUTCOMES_S:g}\n"
    if told not in text:
        script.write_text(text.replace(before, told + before), encoding="utf-8")


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")

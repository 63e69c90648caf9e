"""Whether the settings of a kit are those that it would be made with now.

FLARE builds every class that these files name, in the process that holds the site's data and keys.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from provisioning.checking.differences import differences
from provisioning.checking.kit import HARDEN, Kit
from provisioning.finding import Finding, ok, problem, warning
from provisioning.kit_files import LAUNCHER, PARENT_FILE, server_settings, site_settings

COMMON = "nvflare.app_common."
FLARES = {  # all classes that its default may bring
    LAUNCHER,
    f"{COMMON}resource_managers.gpu_resource_manager.GPUResourceManager",
    f"{COMMON}resource_consumers.gpu_resource_consumer.GPUResourceConsumer",
    f"{COMMON}job_launcher.server_process_launcher.ServerProcessJobLauncher",
    f"{COMMON}job_schedulers.job_scheduler.DefaultJobScheduler",
    f"{COMMON}storages.filesystem_storage.FilesystemStorage",
    f"{COMMON}state_persistors.storage_state_persistor.StorageStatePersistor",
    "nvflare.apis.impl.job_def_manager.SimpleJobDefManager",
}
TOLD_ELSEWHERE = (  # by checks of their own, in words of their own
    "allow_log_streaming",
    "class_list_enforcement_mode",
    "class_allow_list",
)
BUILT = ("components", "app_validator", "snapshot_persistor")  # classes, in FLARE's startup file
PUT_BACK = f"put it back, as a new kit has it; {HARDEN}"
FIX = f"take it out unless you know who put it there and why; {HARDEN}"


def check_as_made(kit: Kit) -> Iterator[Finding]:
    """Resources and parent file beside those of a new kit, and files that a new kit has not."""
    expected = _expected(kit)
    different = [
        *_of_file(kit, "resources.json", expected["resources.json"]),
        *_of_file(kit, PARENT_FILE, expected[PARENT_FILE], strict=True),
        *_of_default(expected["resources.json"]),
        *_of_startup(kit),
    ]
    yield from different
    if not different:
        yield ok("as made", "FLARE builds what a new kit names, and nothing else")
    yield from _more_files(kit)


def _expected(kit: Kit) -> dict[str, dict[str, Any]]:
    made = site_settings if kit.role == "site" else server_settings
    return made(kit.local)


def _of_file(
    kit: Kit, name: str, expected: Mapping[str, Any], strict: bool = False
) -> Iterator[Finding]:
    found = kit.read(name)
    for each in differences(_compared(expected), _compared(found)):
        told = problem if strict or each.matters else warning
        fix = PUT_BACK if each.missing else FIX
        yield told("as made", f"local/{name}: {each.said}", fix)


def _compared(settings: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in settings.items() if name not in TOLD_ELSEWHERE}
    servers = kept.get("servers")
    if isinstance(servers, list) and all(isinstance(one, dict) for one in servers):
        kept["servers"] = [{**one, "heart_beat_timeout": 0} for one in servers]
    return kept


def _of_default(expected: Mapping[str, Any]) -> Iterator[Finding]:
    """FLARE's own default may have been changed, too, and is then nothing to go by."""
    if foreign := sorted(set(_classes(expected)) - FLARES):
        said = f"local/resources.json.default names {', '.join(foreign[:3])}, which FLARE's has not"
        yield problem("as made", said, "take the file from the kit as it was handed out")


def _classes(settings: object) -> Iterator[str]:
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            if name in ("path", "class_path", "name"):
                yield str(value)
            yield from _classes(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _classes(value)


def _of_startup(kit: Kit) -> Iterator[Finding]:
    name, found = "fed_client.json" if kit.role == "site" else "fed_server.json", kit.read_startup()
    for part in BUILT:
        if part in found:
            yield problem("as made", f"startup/{name} has {part}, which a new kit has not", FIX)


def _more_files(kit: Kit) -> Iterator[Finding]:
    files = [*kit.local.glob("*_resources.json"), *kit.startup.glob("*_resources.json")]
    more = sorted(path.name for path in files if path != kit.local / PARENT_FILE)
    if more:
        yield problem("additions", f"FLARE also builds what {', '.join(more)} says", FIX)

"""What a kit's settings let FLARE do: classes, code, gate, logs, stores, rights."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fedefm.errors import ProvisionError
from provisioning.checking.as_made import check_as_made
from provisioning.checking.kit import DEFAULT_AS_HANDED_OUT, HARDEN, Kit
from provisioning.checking.log_code import check_log_code
from provisioning.checking.permitted import check_permitted
from provisioning.finding import Finding, ok, problem, warning
from provisioning.kit_files import (
    ALLOWED_CLASSES,
    GATE,
    GUARD,
    HEART_BEAT_S,
    KIT_VARIABLE,
    LAUNCHER,
    LOG_STREAMERS,
    PARENT_FILE,
    RETURNING,
    SERVER_CLASSES,
    privacy_settings,
)
from provisioning.rights import grants


def check_settings(kit: Kit) -> Iterator[Finding]:
    """All that does not depend on the kit's role, and then what does."""
    checks = [_classes, _logs, _code]
    checks += [_gate, _launcher, _others] if kit.role == "site" else [_stores, _heart_beat]
    for check in (*checks, check_as_made, check_permitted, check_log_code):
        try:
            yield from check(kit)
        except ProvisionError as error:
            fix = DEFAULT_AS_HANDED_OUT if ".default" in str(error) else HARDEN
            yield problem("settings", str(error), fix)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            fix = f"compare it with a new kit; {HARDEN}"
            yield problem("settings", f"a file of local/ is not as FLARE knows it ({error!r})", fix)


def _classes(kit: Kit) -> Iterator[Finding]:
    resources = kit.read("resources.json")
    allowed = set(resources.get("class_allow_list", []))
    known = set(ALLOWED_CLASSES if kit.role == "site" else SERVER_CLASSES)
    if resources.get("class_list_enforcement_mode") != "enforce":
        fix = 'set "class_list_enforcement_mode": "enforce" in local/resources.json'
        yield problem("classes", "jobs may build any class", fix)
    elif foreign := sorted(allowed - known):
        fix = "take them out of class_allow_list in local/resources.json"
        yield problem("classes", f"jobs may also build {', '.join(foreign[:3])}", fix)
    elif missing := sorted(known - allowed):
        yield problem("classes", f"our jobs may not build {', '.join(missing)}", HARDEN)
    else:
        yield ok("classes", f"jobs may build the {len(allowed)} classes they need and no others")


def _logs(kit: Kit) -> Iterator[Finding]:
    resources = kit.read("resources.json")
    streaming = [one["id"] for one in resources["components"] if one["id"] in LOG_STREAMERS]
    if streaming or resources.get("allow_log_streaming") is not False:
        fix = 'set "allow_log_streaming": false in local/resources.json, without ' + " and ".join(
            LOG_STREAMERS
        )
        yield problem("logs", "error logs, with whatever is in them, go to the server", fix)
    else:
        yield ok("logs", "none are sent to the server")


def _code(kit: Kit) -> Iterator[Finding]:
    permissions = kit.read("authorization.json")["permissions"]
    may = [role for role in permissions if grants(permissions, role, "byoc")]
    if may:
        fix = 'set "byoc": "none" for them in local/authorization.json; "any" holds it as well'
        yield problem("code", f"{', '.join(may)} may bring code along", fix)
    else:
        yield ok("code", "nobody may bring any")
    shell = [role for role in permissions if grants(permissions, role, "shell_commands")]
    if shell:
        fix = 'set "shell_commands": "none" for them in local/authorization.json'
        yield problem("files of others", f"{', '.join(shell)} may read files here from afar", fix)


def _gate(kit: Kit) -> Iterator[Finding]:
    privacy = kit.read("privacy.json")
    scopes = {scope["name"]: scope for scope in privacy["scopes"]}
    if len(scopes) < len(privacy["scopes"]):
        yield problem("gate", "two scopes have one name", "name each once in local/privacy.json")
    if more := sorted(set(privacy) - {"scopes", "default_scope"}):
        yield problem("gate", f"local/privacy.json also has {', '.join(more)}", HARDEN)
    for name, scope in scopes.items():
        if _has_gate(scope) and not _has_gate_only(scope):
            said = f"scope {name} has other filters than the gate, which FLARE runs beside it"
            yield problem("gate", said, HARDEN)
    if privacy.get("default_scope") not in scopes:
        fix = "name one of its scopes as default_scope in local/privacy.json"
        yield problem("gate", "jobs that name no scope have no gate", fix)
    without = [name for name, scope in scopes.items() if not _has_gate(scope)]
    if without:
        yield problem("gate", f"scope {', '.join(without)} lets all out unseen", HARDEN)
    elif privacy.get("default_scope") in scopes:
        yield ok("gate", f"looks at all that leaves, in scope {', '.join(scopes)}")
    parents = kit.read(PARENT_FILE)["components"]
    if GUARD not in parents:
        yield problem("budget guard", "jobs are not asked what they will spend", HARDEN)
    else:
        yield ok("budget guard", "jobs are asked before they are deployed")


def _has_gate(scope: Mapping[str, Any]) -> bool:
    filters = [scope.get(f"task_{what}_filters") or [] for what in ("data", "result")]
    return all(
        any(one["path"] == GATE["path"] and one.get("direction") == "out" for one in each)
        for each in filters
    )


def _has_gate_only(scope: Mapping[str, Any]) -> bool:
    (usual,) = privacy_settings()["scopes"]
    free = {"name", "properties"}
    return {name: each for name, each in scope.items() if name not in free} == {
        name: each for name, each in usual.items() if name not in free
    }


def _launcher(kit: Kit) -> Iterator[Finding]:
    components = kit.read("resources.json")["components"]
    launchers = [one["path"] for one in components if one["id"] == "process_launcher"]
    parents = kit.read(PARENT_FILE)["components"]
    if launchers != [LAUNCHER] or RETURNING not in parents:
        yield warning("survival", "a job ends for all when a process dies here", HARDEN)
    else:
        yield ok("survival", "a job outlives the death of its process here")


def _others(kit: Kit) -> Iterator[Finding]:
    if (kit.local / "custom").exists():
        fix = "remove local/custom; what a site needs is installed, not put into the kit"
        yield warning("additions", "local/custom may hold code that FLARE loads", fix)


def _stores(kit: Kit) -> Iterator[Finding]:
    text = json.dumps(kit.read("resources.json"))
    script = (kit.startup / "sub_start.sh").read_text(encoding="utf-8")
    if "/tmp/" in text:
        yield problem("stores", "jobs lie in a folder that everybody on the machine uses", HARDEN)
    elif KIT_VARIABLE in text and f"export {KIT_VARIABLE}=" not in script:
        yield problem("stores", f"the start script does not set {KIT_VARIABLE}", HARDEN)
    else:
        yield ok("stores", "jobs and snapshots lie in the server's own folder")


def _heart_beat(kit: Kit) -> Iterator[Finding]:
    longest = max(each["heart_beat_timeout"] for each in kit.read("resources.json")["servers"])
    said = f"a silent site counts as gone after {longest} s"
    if longest > HEART_BEAT_S:
        fix = f'set "heart_beat_timeout": {HEART_BEAT_S} in local/resources.json'
        yield warning("heartbeat", said, fix)
    else:
        yield ok("heartbeat", said)

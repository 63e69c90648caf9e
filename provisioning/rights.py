"""Who may do what in a project, in FLARE's terms, and how such a table is read.

FLARE asks server and site for the role that stands in a person's certificate. A right that a role
is not given is refused, a role that is ``any`` has all rights, that to bring code among them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fedefm.errors import ProvisionError

LEAD, OFFICER, ADMIN, ORG_ADMIN = "lead", "member", "project_admin", "org_admin"
ROLES = {
    LEAD: "submits jobs, and sees and ends their own",
    OFFICER: "looks, and can do nothing: the privacy officer",
    ADMIN: "looks after server and jobs: IT at the hub",
}
COMMON = ("view", "submit_job", "manage_job", "download_job", "operate", "shell_commands", "byoc")
NOT = "not n:"  # before the name of somebody who may not
NOBODY, EVERYBODY, OWN_JOBS, OWN_SITE = "none", "any", "n:submitter", "o:site"
NEVER = {"shell_commands": NOBODY, "byoc": NOBODY}  # files of others, and code, are no role's
SEES = {"view": EVERYBODY, "app_command": EVERYBODY}  # the latter: how a running job goes on
RIGHTS: dict[str, dict[str, str]] = {
    ADMIN: {
        **SEES,
        "submit_job": NOBODY,
        "clone_job": NOBODY,
        "manage_job": EVERYBODY,
        "download_job": EVERYBODY,
        "operate": EVERYBODY,
        **NEVER,
    },
    ORG_ADMIN: {
        **SEES,
        "submit_job": NOBODY,
        "clone_job": NOBODY,
        "manage_job": "o:submitter",
        "download_job": "o:submitter",
        "operate": OWN_SITE,
        **NEVER,
    },
    LEAD: {
        **SEES,
        "submit_job": EVERYBODY,
        "clone_job": OWN_JOBS,
        "manage_job": OWN_JOBS,
        "download_job": OWN_JOBS,
        "operate": NOBODY,
        **NEVER,
    },
    OFFICER: {**SEES, **NEVER},
}
SAID = {
    NOBODY: "no",
    "no": "no",
    EVERYBODY: "yes",
    "all": "yes",
    OWN_JOBS: "own",
    "name:submitter": "own",
    "o:submitter": "own org's",
    "org:submitter": "own org's",
    OWN_SITE: "own org",
    "org:site": "own org",
}


def authorization(retired: Sequence[str] = ()) -> dict[str, Any]:
    """What ``local/authorization.json`` holds; nothing is permitted to ``retired`` people."""
    but = [f"{NOT}{person}" for person in retired]

    def of(who: str) -> str | list[str]:
        return [who, *but] if but and who != NOBODY else who

    permissions = {
        role: {right: of(who) for right, who in rights.items()} for role, rights in RIGHTS.items()
    }
    return {"format_version": "1.0", "permissions": permissions}


def refused_people(permissions: Mapping[str, Any]) -> set[str]:
    """To whom such ``permissions`` permit nothing, as ``authorization`` writes it."""
    expressions = [
        who
        for rights in permissions.values()
        if isinstance(rights, Mapping)
        for who in rights.values()
        if isinstance(who, list)
    ]
    return {one.removeprefix(NOT) for each in expressions for one in each if one.startswith(NOT)}


def told_rights(permissions: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Role by right, in words, as FLARE evaluates such ``permissions``."""
    return {
        role: {right: granted(rights, right) for right in COMMON}
        for role, rights in permissions.items()
    }


def grants(permissions: Mapping[str, Any], role: str, right: str) -> bool:
    """Whether anybody with ``role`` has ``right`` anywhere."""
    return granted(permissions.get(role, {}), right) != "no"


def granted(rights: Any, right: str) -> str:
    """In words, what a role with ``rights`` may do; "no" for nothing.

    Raises ProvisionError where they are no words of FLARE's.
    """
    expression = rights.get(right, NOBODY) if isinstance(rights, Mapping) else rights
    each = [expression] if isinstance(expression, str) else expression
    if not isinstance(each, list) or not all(isinstance(one, str) for one in each):
        raise ProvisionError(
            f"local/authorization.json gives {json.dumps(expression)} as a right, which FLARE "
            f'cannot read; write "{NOBODY}" there'
        )
    words = [" ".join(one.lower().split()) for one in each]
    allowed = [SAID.get(word, word) for word in words if not word.startswith("not ")]
    if words and not allowed:
        allowed = ["yes"]  # FLARE allows what is only forbidden to some
    told = [one for one in allowed if one != "no"]
    return " or ".join(told) if told else "no"

"""Whether anybody may do more here than in a new kit."""

from collections.abc import Iterator, Mapping
from typing import Any

from provisioning.checking.kit import HARDEN, Kit
from provisioning.finding import Finding, ok, problem
from provisioning.rights import RIGHTS, granted

TOLD_ELSEWHERE = ("byoc", "shell_commands")  # code, and files of others
KNOWN = {right for rights in RIGHTS.values() for right in rights} - {*TOLD_ELSEWHERE}


def check_permitted(kit: Kit) -> Iterator[Finding]:
    """Each right of ``local/authorization.json`` beside ours. A right less is the owner's choice.

    Raises ProvisionError where the file cannot be read.
    """
    permissions = kit.read("authorization.json")["permissions"]
    fix = f"take it away from them in local/authorization.json; {HARDEN}"
    above = []
    for role, rights in permissions.items():
        if role not in RIGHTS:
            above.append(problem("rights", f"{role!r} is no role of ours", fix))
            continue
        above += [
            problem("rights", f"{role} may {right} ({told}), and may not in a new kit", fix)
            for right, told in _above(role, rights).items()
        ]
    yield from above or [ok("rights", "nobody may do more than in a new kit")]


def _above(role: str, rights: Any) -> dict[str, str]:
    """The rights that go beyond ours, in words."""
    own = RIGHTS[role]
    names = KNOWN | set(rights if isinstance(rights, Mapping) else ()) - {*TOLD_ELSEWHERE}
    told = {name: granted(rights, name) for name in sorted(names)}
    return {
        name: words
        for name, words in told.items()
        if words not in ("no", granted(own, name)) and granted(own, name) != "yes"
    }

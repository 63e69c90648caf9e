"""What is said of who left a project, whoever makes the keys there."""

from provisioning.project_edit import ProjectFile, read_project
from provisioning.rights import ADMIN, LEAD, OFFICER

MISSED = {  # what nobody does once the last of a role is gone, and who can
    LEAD: "nobody can submit jobs; take somebody in with `fedefm provision join --lead`",
    OFFICER: "no privacy officer looks on; take one in with `fedefm provision join --officer`",
    ADMIN: "nobody of IT looks after the server; take one in with `fedefm provision join --admin`",
}


def warn_missed(before: ProjectFile, name: str) -> None:
    """Say what nobody can do any more without ``name``."""
    role = before.roles.get(name, "")
    if role in MISSED and role not in read_project(before.path).roles.values():
        print(f"warning: {name} was the only one, so that {MISSED[role]}.")


def tell_to_disable(name: str) -> None:
    """How a running server is told of a site."""
    print(
        "To do now, with the kit of an --admin, while the server runs: nvflare system "
        f"disable-client {name} --force"
    )


def tell_to_copy(rights: object) -> None:
    """How a server is told of a person."""
    print(f"To do now: copy {rights} into local/ of the server's kit, and start the server again.")


def tell_still_signed(name: str) -> None:
    """What their certificate is still good for."""
    print(
        f"The certificate of {name} is still signed by the root, so that {name} can open a "
        "connection until it ends; the server answers nothing but a refusal."
    )

"""``fedefm provision join``, ``retire``, ``rotate``: changes that leave the others' kits alone."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fedefm.errors import ProvisionError
from fedefm.train.header import SERVER
from nvflare_jobs.commands.provision_at_home import join_at_home, retire_at_home
from nvflare_jobs.commands.provision_told import (
    tell_still_signed,
    tell_to_copy,
    tell_to_disable,
    warn_missed,
)
from provisioning.at_home import refuse_to_rotate
from provisioning.change import Changed
from provisioning.change import join as take_in
from provisioning.change import rotate as renew
from provisioning.checking.kit import open_kit
from provisioning.making import WORKSPACE
from provisioning.names import hospital
from provisioning.project import Person
from provisioning.project_edit import read_project
from provisioning.retiring import Retired, require_refusable
from provisioning.retiring import retire as take_out
from provisioning.rights import ADMIN, LEAD, OFFICER
from provisioning.workspace import Workspace

ProjectPath = Annotated[
    Path, typer.Argument(metavar="PROJECT.yml", help="As `fedefm provision init` wrote it.")
]
WorkspacePath = Annotated[
    Path | None, typer.Option(help="What `nvflare provision -w` was given; beside PROJECT.yml.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (join, retire, rotate):
        app.command()(command)


def join(
    project: ProjectPath,
    site: Annotated[
        list[str] | None, typer.Option(help="A hospital, as people write it. Repeatable.")
    ] = None,
    lead: Annotated[list[str] | None, typer.Option(help="Who submits jobs. Repeatable.")] = None,
    officer: Annotated[list[str] | None, typer.Option(help="Who only looks. Repeatable.")] = None,
    admin: Annotated[list[str] | None, typer.Option(help="IT of the hub. Repeatable.")] = None,
    workspace: WorkspacePath = None,
    as_json: AsJson = False,
) -> None:
    """Take hospitals or people in: adds them to PROJECT.yml and makes their kits.

    Where private keys stay at home, writes the files that they make their own kits from.

    Example: fedefm provision join hearts/project.yml --site "St. Anne's"
    """
    people = [
        *(Person(name, LEAD) for name in lead or ()),
        *(Person(name, OFFICER) for name in officer or ()),
        *(Person(name, ADMIN) for name in admin or ()),
    ]
    file, hospitals = read_project(project), [hospital(written) for written in site or ()]
    if file.keys_at_home:
        join_at_home(file, hospitals, people, as_json)
        return
    changed = take_in(file, _workspace(project, workspace, file.name), hospitals, people)
    if as_json:
        print(json.dumps(_facts(changed)))
        return
    for one in hospitals:
        if one.written != one.name:
            print(f"{one.written} is {one.name} in FLARE, which knows no other characters")
    _tell(changed)
    print("The server needs no new kit, and no restart: it lets in whom the root has signed.")


def retire(
    project: ProjectPath,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A hospital or a person.")],
    server_kit: Annotated[
        Path | None,
        typer.Option(help="The server's kit where it runs, if on this machine: refuse there, too."),
    ] = None,
    workspace: WorkspacePath = None,
    as_json: AsJson = False,
) -> None:
    """Take a hospital or person out, and let the server refuse them from now on.

    Their certificate stays valid until it ends; the server's list is what keeps them out. Given
    again, it finishes what was left half done.

    Example: fedefm provision retire hearts/project.yml St-Marys-Hospital
    """
    if server_kit is not None:
        if open_kit(server_kit).role != "server":
            raise ProvisionError(f"--server-kit {server_kit} is no server's kit")
        require_refusable(server_kit)
    file = read_project(project)
    if file.keys_at_home:
        retire_at_home(file, name, server_kit, as_json)
        return
    gone = take_out(file, _workspace(project, workspace, file.name), name, server_kit)
    name, changed = gone.name, gone.changed
    if as_json:
        print(json.dumps({**_facts(changed), "finished": list(gone.finished)}))
        return
    _tell_gone(project, gone)
    warn_missed(file, name)
    person = "@" in name
    if server_kit is not None:
        print(f"The server in {server_kit} refuses {name} from its next start on.")
    elif person:
        tell_to_copy(changed.to_hand_out[0] / "local" / "authorization.json")
    if not person:
        tell_to_disable(name)
        print("The server remembers it over restarts; the next server kit knows it as well.")
    tell_still_signed(name)


def _tell_gone(project: Path, gone: Retired) -> None:
    if gone.finished:
        print(f"{gone.name} was retired before, which was not finished. It is now; done was:")
        for left in gone.finished:
            print(f"  {left}")
    elif gone.again:
        print(f"{gone.name} was retired before; nothing was left to do in the workspace.")
    else:
        print(f"{gone.name} is out of {project}, their keys and kits out of the workspace.")


def rotate(
    project: ProjectPath,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A site, the server, or a person.")],
    workspace: WorkspacePath = None,
    as_json: AsJson = False,
) -> None:
    """Give one a new key and certificate, signed by the same root.

    Example: fedefm provision rotate hearts/project.yml St-Marys-Hospital
    """
    file = read_project(project)
    if file.keys_at_home:
        refuse_to_rotate(file, name)
    name = file.called(name)
    changed, certificate = renew(file, _workspace(project, workspace, file.name), name)
    if as_json:
        ends = certificate.ends.isoformat()
        print(json.dumps({**_facts(changed), "fingerprint": certificate.fingerprint, "ends": ends}))
        return
    startup = changed.kits / name / "startup"
    files = ", ".join(str(path) for path in sorted(startup.glob("*.crt")) + _keys(startup))
    print(f"{name} has a new key; the certificate ends on {certificate.ends:%Y-%m-%d}.")
    print(f"Hand out to {name} alone, for startup/ of their kit, then a restart there: {files}")
    print("local/ of their kit stays as it is. Sites with `peers` in their site file need there:")
    party = SERVER if (startup / "server.crt").is_file() else name
    print(f"  {party}: {certificate.fingerprint}")
    _tell_differing(changed)
    print(
        "The former certificate stays valid until it ends, and opens the same doors: if its key "
        "may be in wrong hands, `retire` the name and let it `join` under another."
    )


def _keys(startup: Path) -> list[Path]:
    return sorted(startup.glob("*.key"))


def _workspace(project: Path, given: Path | None, name: str) -> Workspace:
    return Workspace(given or project.absolute().parent / WORKSPACE, name)


def _facts(changed: Changed) -> dict[str, Any]:
    return {
        "kits": str(changed.kits),
        "hand_out": [str(kit) for kit in changed.to_hand_out],
        "differing": changed.differing,
    }


def _tell(changed: Changed) -> None:
    for kit in changed.to_hand_out:
        print(f"Hand out, to its owner alone: {kit}")
    _tell_differing(changed)


def _tell_differing(changed: Changed) -> None:
    if not changed.differing:
        print("All other kits are what they were, to the byte; nobody else has to do anything.")
        return
    print("These kits differ from those before; keep the ones that run, or hand out these files:")
    for name, files in changed.differing.items():
        print(f"  {name}: {', '.join(files)}")

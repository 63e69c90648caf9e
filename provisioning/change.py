"""Who comes, and who gets a new key: changes of a project that leave the others alone."""

from dataclasses import dataclass
from pathlib import Path

from fedefm.errors import ProvisionError, all_problems
from provisioning.certificates import Certificate, read_certificate
from provisioning.names import Hospital, free_name, person_problems, site_problems
from provisioning.private_places import require_replaceable, write_private
from provisioning.project import Person
from provisioning.project_edit import ProjectFile
from provisioning.project_text import person_text, site_text
from provisioning.workspace import Workspace, differing, make_kits

CERTIFICATES = {"server": "server.crt", "client": "client.crt", "admin": "client.crt"}


@dataclass(frozen=True)
class Changed:
    """The kits after a change: ``to_hand_out`` of them, and what differs in those of the others.

    Nothing differs unless the project file, or what is installed, changed since they were made.
    """

    kits: Path
    to_hand_out: tuple[Path, ...]
    differing: dict[str, list[str]]


def join(
    file: ProjectFile, workspace: Workspace, sites: list[Hospital], people: list[Person]
) -> Changed:
    """Take sites and people in. Raises ProvisionError with every mistake, and changes nothing."""
    refuse_wrong_names(file, sites, people)
    require_changeable(file, workspace)
    larger = with_all(file, sites, people)
    names = [site.name for site in sites] + [person.name for person in people]
    return make_changed(file, larger, workspace, names)


def rotate(file: ProjectFile, workspace: Workspace, name: str) -> tuple[Changed, Certificate]:
    """A new key and certificate for one, from the same root; with the new certificate."""
    name = file.called(name)
    require_changeable(file, workspace)
    workspace.require_droppable(name)
    with workspace.unchanged_on_failure():
        workspace.forget(name)
        changed = make_changed(file, file, workspace, [name])
    workspace.drop_kits(name, keep=changed.kits)
    certificate = changed.kits / name / "startup" / CERTIFICATES[file.types[name]]
    return changed, read_certificate(certificate)


def with_all(file: ProjectFile, sites: list[Hospital], people: list[Person]) -> ProjectFile:
    """The file with the lines of all these."""
    for site in sites:
        file = file.with_block(site_text(site), "client")
    for person in people:
        file = file.with_block(person_text(person), "admin")
    return file


def require_changeable(file: ProjectFile, workspace: Workspace) -> None:
    """Raises ProvisionError where new kits could not be made and remembered, changing nothing."""
    workspace.state()
    require_replaceable(file.path)
    workspace.require_writable()


def make_changed(
    before: ProjectFile, after: ProjectFile, workspace: Workspace, names: list[str]
) -> Changed:
    """New kits of ``after``; the project file is as it was if none come of it."""
    former = workspace.newest()
    write_private(after.path, after.text)
    try:
        kits = make_kits(after, workspace)
    except BaseException:
        write_private(before.path, before.text)
        raise
    others = [name for name in after.types if name not in names and (former / name).is_dir()]
    found = {name: differing(former / name, kits / name) for name in others}
    return Changed(
        kits,
        tuple(kits / name for name in names),
        {name: files for name, files in found.items() if files},
    )


def refuse_wrong_names(file: ProjectFile, sites: list[Hospital], people: list[Person]) -> None:
    """Raises ProvisionError with all that hinders these from joining under their names."""
    problems = [problem for site in sites for problem in site_problems(site)]
    problems += [problem for person in people for problem in person_problems(person.name)]
    taken = {name.casefold() for name in file.types}
    retired = {name.casefold() for name in file.retired}
    named = [(site.written, site.name) for site in sites if site.name]
    for written, name in [*named, *((person.name, person.name) for person in people)]:
        free = f"{written}={free_name(name, taken | retired)}"
        other = "another address" if "@" in name else f"a new name, such as {free!r}"
        if name.casefold() in retired:
            problems.append(
                f"{name!r} was retired, and its former certificate would be let in again; choose "
                f"{other}"
            )
        elif name.casefold() in taken:
            problems.append(
                f"{name!r} is in the project already; a new key is `rotate`, and who is somebody "
                f"else needs {other}"
            )
        taken.add(name.casefold())
    if not sites and not people:
        problems.append("nobody is named; say --site, --lead, --officer or --admin")
    if problems:
        raise ProvisionError(all_problems("joining", problems))

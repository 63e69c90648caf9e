"""Who comes and goes where private keys stay at home: the hub signs, and makes nobody's kit."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fedefm.errors import ProvisionError
from provisioning.change import refuse_wrong_names, with_all
from provisioning.kit_files import refuse_retired
from provisioning.making import REQUESTS
from provisioning.names import Hospital
from provisioning.private_places import require_place, require_replaceable, write_private
from provisioning.project import Person
from provisioning.project_edit import ProjectFile
from provisioning.project_text import person_request, site_request
from provisioning.retiring import finished_by_another_try, require_refusable
from provisioning.rights import authorization

RIGHTS = Path("for-server", "local", "authorization.json")  # beside the project file


@dataclass(frozen=True)
class Refused:
    """``rights`` is the file that the server's kit needs where nobody named the kit."""

    name: str
    again: bool
    rights: Path | None


def take_in(file: ProjectFile, sites: list[Hospital], people: list[Person]) -> tuple[Path, ...]:
    """Write down who comes; the files that they make their keys and requests from.

    Raises ProvisionError with every mistake, and changes nothing then.
    """
    refuse_wrong_names(file, sites, people)
    larger = with_all(file, sites, people)
    folder = file.path.parent / REQUESTS
    require_replaceable(file.path)
    require_place(folder if folder.is_dir() else file.path.parent)
    folder.mkdir(exist_ok=True)
    texts = {site.name: site_request(file.name, site) for site in sites}
    texts |= {person.name: person_request(file.name, person) for person in people}
    for name, text in texts.items():
        _request(file, name).write_text(text, encoding="utf-8")
    write_private(file.path, larger.text)
    return tuple(_request(file, name) for name in texts)


def take_out(file: ProjectFile, name: str, server_kit: Path | None) -> Refused:
    """Write down that one is refused, and tell ``server_kit``; given again, it is told again.

    Without it, a file for the server's kit is written. That all can be written is tried first.
    """
    name = _called(file, name)
    if name == file.server:
        raise ProvisionError(f"{name!r} is the server, without which there is no project")
    require_replaceable(file.path)
    if server_kit is None:
        require_place(file.path.parent)
    else:
        require_refusable(server_kit)
    smaller = file.without(name) if name in file.types else file
    smaller = smaller.retiring(name)
    write_private(file.path, smaller.text)
    with finished_by_another_try(file, name):
        rights = None if server_kit else _write_rights(smaller)
        if server_kit is not None:
            refuse_retired(server_kit, smaller.retired)
        _request(file, name).unlink(missing_ok=True)
    return Refused(name, name in file.retired, rights)


def refuse_to_rotate(file: ProjectFile, name: str) -> NoReturn:
    """Raises ProvisionError: the hub makes no key for ``name`` here; it says who does."""
    raise ProvisionError(
        f"in this project private keys stay at home: {file.called(name)} makes a new one there "
        "with `nvflare cert request --force`, you sign it with `nvflare cert approve --force`, and "
        "`nvflare package --force` there makes the kit; the commands are in "
        "docs/keys-stay-at-home.md, under 'A certificate ends'"
    )


def _called(file: ProjectFile, said: str) -> str:
    """As the file knows them, or as a request does that somebody wrote by hand."""
    by_hand = {path.stem for path in (file.path.parent / REQUESTS).glob("*.yml")}
    return said if said in by_hand - {*file.types} else file.ever_called(said)


def _request(file: ProjectFile, name: str) -> Path:
    return file.path.parent / REQUESTS / f"{name}.yml"


def _write_rights(file: ProjectFile) -> Path:
    """What people may do at the server, in FLARE's terms: nothing, once they are retired."""
    path = file.path.parent / RIGHTS
    path.parent.mkdir(parents=True, exist_ok=True)
    people = sorted(name for name in file.retired if "@" in name)
    write_private(path, json.dumps(authorization(people), indent=2) + "\n")
    return path

"""A new project's folder: its file, and what hospitals ask for certificates with."""

from dataclasses import dataclass
from pathlib import Path

from fedefm.errors import ProvisionError
from provisioning.private_places import make_private_folder, write_private
from provisioning.project import Project
from provisioning.project_text import profile_text, project_text, request_texts

PROJECT_FILE, PROFILE_FILE, REQUESTS = "project.yml", "profile.yml", "requests"
WORKSPACE = "workspace"  # as `nvflare provision` calls it where it is not told otherwise
ROOT_KEY = Path("state", "cert.json")  # of a project, in its workspace
CA = "ca"  # the folder of the root of a project whose participants make their own keys


@dataclass(frozen=True)
class Made:
    """What there is now. ``root_key`` is where FLARE will put the root's private key."""

    folder: Path
    file: Path
    root_key: Path
    requests: tuple[Path, ...]


def make_project(wanted: Project, folder: Path, keys_at_home: bool = False) -> Made:
    """Write the project's file into a folder that nobody else may read.

    Raises ProvisionError where the folder is open to others or has a project already.
    """
    file = folder / PROJECT_FILE
    if file.exists():
        raise ProvisionError(
            f"there is a project in {file} already; take part of it away by hand, add to it with "
            "`fedefm provision join`, or choose another folder with --out"
        )
    make_private_folder(folder)
    write_private(file, project_text(wanted, keys_at_home))
    if keys_at_home:
        return Made(folder, file, folder / CA / "rootCA.key", _write_requests(wanted, folder))
    return Made(folder, file, folder / WORKSPACE / wanted.name / ROOT_KEY, ())


def _write_requests(wanted: Project, folder: Path) -> tuple[Path, ...]:
    write_private(folder / PROFILE_FILE, profile_text(wanted))
    (folder / REQUESTS).mkdir()
    written = []
    for name, text in request_texts(wanted):
        path = folder / REQUESTS / f"{name}.yml"
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return tuple(written)

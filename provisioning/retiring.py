"""Who goes: out of the project, and kept out by the server. What was left half done is finished."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedefm.errors import ProvisionError
from provisioning.change import Changed, make_changed, require_changeable
from provisioning.kit_files import DISABLED_FILE, refuse_retired, refused_at
from provisioning.private_places import require_writable
from provisioning.project_edit import ProjectFile
from provisioning.workspace import Workspace


@dataclass(frozen=True)
class Retired:
    """``finished`` is what an earlier try had left, as words; ``again`` says that there was one."""

    name: str
    changed: Changed
    again: bool
    finished: tuple[str, ...]


def retire(
    file: ProjectFile, workspace: Workspace, name: str, server_kit: Path | None = None
) -> Retired:
    """Take a site or person out, and let the server's next kit refuse them, and ``server_kit``.

    Their certificate stays valid until it ends: only the server's list keeps them out. That all can
    be written is tried before anything changes. Who is retired already is rid of what is left.
    """
    name = file.ever_called(name)
    if name == file.server:
        raise ProvisionError(f"{name!r} is the server, without which there is no project")
    again = name not in file.types
    left = tuple(_left(file, workspace, name, server_kit)) if again else ()
    require_changeable(file, workspace)
    workspace.require_droppable(name)
    if server_kit is not None:
        require_refusable(server_kit)
    changed = _kits_without(file, workspace, name)
    with finished_by_another_try(file, name):
        if server_kit is not None:
            refuse_retired(server_kit, [*file.retired, name])
        workspace.forget(name)
        workspace.drop_kits(name)
    return Retired(name, changed, again, left)


def require_refusable(server_kit: Path) -> None:
    """Raises ProvisionError where a server's kit cannot take the list of whom it refuses."""
    refused_at(server_kit)  # what it cannot tell is known before anything changes
    require_writable(server_kit / "local" / "authorization.json")
    require_writable(server_kit / DISABLED_FILE)


@contextmanager
def finished_by_another_try(file: ProjectFile, name: str) -> Iterator[None]:
    """Says what to do where the disk lets us down after the project file has changed."""
    try:
        yield
    except OSError as error:
        raise ProvisionError(
            f"{name} is retired in {file.path}, but not all of it is done: {error}; mend that, and "
            "give the same command again, which finishes what is left"
        ) from None


def _left(
    file: ProjectFile, workspace: Workspace, name: str, server_kit: Path | None
) -> Iterator[str]:
    """What a retirement that was broken off has left to do."""
    if not _refused_by_newest(file, workspace, name):
        yield "the server's new kit, which refuses them"
    if server_kit is not None and name not in refused_at(server_kit):
        yield f"the list of whom the server in {server_kit} refuses"
    if name in workspace.state():
        yield f"their key and certificate in {workspace.state_file}"
    yield from (f"their kit {kit}" for kit in workspace.kits_of(name))


def _kits_without(file: ProjectFile, workspace: Workspace, name: str) -> Changed:
    if name in file.types:
        return make_changed(file, file.without(name).retiring(name), workspace, [file.server])
    if not _refused_by_newest(file, workspace, name):
        return make_changed(file, file, workspace, [file.server])
    newest = workspace.newest()
    return Changed(newest, (newest / file.server,), {})


def _refused_by_newest(file: ProjectFile, workspace: Workspace, name: str) -> bool:
    return name in refused_at(workspace.kit(file.server))

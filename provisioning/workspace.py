"""The folder in which FLARE keeps a project's kits and its root key, and making kits in it anew."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fedefm.errors import ProvisionError
from provisioning.certificates import parse_certificate
from provisioning.making import ROOT_KEY
from provisioning.private_places import (
    require_place,
    require_private,
    require_replaceable,
    require_writable,
    write_private,
)
from provisioning.project_edit import ProjectFile

PATIENCE_S = 600.0
OF_ROOT = ("root_cert", "root_pri_key")  # what FLARE keeps beside the participants
NVFLARE = "import sys; from nvflare.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Workspace:
    """One project's part of what `nvflare provision -w` was given."""

    folder: Path  # the workspace itself
    project: str

    @property
    def root(self) -> Path:
        """Where kits and state of the project lie."""
        return self.folder / self.project

    @property
    def state_file(self) -> Path:
        return self.root / ROOT_KEY

    def newest(self) -> Path:
        """The folder of the kits that were made last. Raises ProvisionError without any."""
        made = sorted(self.root.glob("prod_*"), key=_number)
        if not made:
            raise ProvisionError(
                f"there are no kits in {self.root}; make them with `nvflare provision`, or name "
                "the folder that it was given by --workspace"
            )
        return made[-1]

    def kit(self, name: str) -> Path:
        return self.newest() / name

    def state(self) -> dict[str, Any]:
        """The certificates and keys that FLARE remembers. Raises ProvisionError."""
        if not self.state_file.is_file():
            raise ProvisionError(
                f"there is no root key in {self.state_file}; it lies where `nvflare provision` "
                "first made the kits of this project, and no other can sign for them"
            )
        require_private(self.root)
        return _state(self.state_file)

    def forget(self, name: str) -> None:
        """Drop certificate and key of ``name`` from what FLARE remembers."""
        state = self.state()
        state.pop(name, None)
        write_private(self.state_file, json.dumps(state))

    def drop_kits(self, name: str, keep: Path | None = None) -> None:
        """Remove all kits of ``name``, whose private keys are of no more use, but one."""
        for kit in self.kits_of(name):
            if kit.parent != keep:
                shutil.rmtree(kit)

    def require_droppable(self, name: str) -> None:
        """Raises ProvisionError where a kit of ``name`` could not be removed."""
        for kit in self.kits_of(name):
            for folder in (kit.parent, kit, *(path for path in kit.rglob("*") if path.is_dir())):
                require_place(folder)

    def kits_of(self, name: str) -> list[Path]:
        """All kits of ``name`` that were ever made and are still there, the first ones first."""
        return sorted(self.root.glob(f"prod_*/{escape(name)}"), key=lambda kit: _number(kit.parent))

    def require_writable(self) -> None:
        """Raises ProvisionError where no kits could be made, or the state not be kept."""
        require_place(self.root)
        require_writable(self.state_file)
        require_replaceable(self.state_file)

    @contextmanager
    def unchanged_on_failure(self) -> Iterator[None]:
        """What FLARE remembers is as before if what is done here fails."""
        before = self.state_file.read_text(encoding="utf-8")
        try:
            yield
        except BaseException:
            write_private(self.state_file, before)
            raise


def make_kits(file: ProjectFile, workspace: Workspace) -> Path:
    """Run `nvflare provision`; the folder of the new kits. Raises ProvisionError with its words."""
    before = set(workspace.root.glob("prod_*"))
    command = ["provision", "-p", str(file.path.resolve()), "-w", str(workspace.folder.resolve())]
    done = subprocess.run(
        [sys.executable, "-c", NVFLARE, *command, "--force"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    made = sorted(set(workspace.root.glob("prod_*")) - before, key=_number)
    if done.returncode != 0 or not made:
        raise ProvisionError(
            f"`nvflare provision` made no kits of {file.path}: {_why(done.stdout + done.stderr)}"
        )
    return made[-1]


def _state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        parse_certificate(state["root_cert"].encode())
        load_pem_private_key(state["root_pri_key"].encode(), password=None)
        whole = all(isinstance(state[name]["cert"], str) for name in state if name not in OF_ROOT)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ProvisionError(
            f"{path} is not what FLARE writes: it must hold the project's root with its key, and "
            "all that it signed; put it back from a backup, since no other root can sign for these "
            "kits"
        )
    return state


def _number(made: Path) -> int:
    """Of a folder of kits, with as many digits as there are; -1 where it has none."""
    digits = made.name.removeprefix("prod_")
    return int(digits) if digits.isdecimal() else -1


def _why(said: str) -> str:
    """What FLARE says of the error, without the traceback and the rest around it."""
    if found := re.search(r"Exception (.+?) +raised during provision", said, re.DOTALL):
        return " ".join(found[1].split()).rstrip(".")
    if found := re.search(r" \u2014 (.+?)\s*(?:^Hint:|^Code:|\Z)", said, re.DOTALL | re.MULTILINE):
        return " ".join(found[1].split())  # what its own check of the file, or the disk, says
    if "Please clean up" in said:
        return "it makes no prod_100; move old folders prod_NN out of the workspace, prod_99 too"
    errors = [line.strip() for line in said.splitlines() if "error" in line.lower()]
    return errors[-1] if errors else "it does not say why"


def differing(one: Path, other: Path) -> list[str]:
    """The files in which two kits differ, by name and content; none where they are equal."""
    here, there = _digests(one), _digests(other)
    return sorted(name for name in {*here, *there} if here.get(name) != there.get(name))


def _digests(kit: Path) -> dict[str, str]:
    return {
        str(path.relative_to(kit)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(kit.rglob("*"))
        if path.is_file()
    }

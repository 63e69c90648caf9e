"""A project file that is there already: who is in it, and changes that keep the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fedefm.errors import ProvisionError
from provisioning.making import REQUESTS
from provisioning.names import do_you_mean, hospital
from provisioning.project_check import arguments, parse_project, require_texts
from provisioning.project_text import KIT_BUILDER, retired_line


@dataclass(frozen=True)
class ProjectFile:
    """``project.yml`` as it was read."""

    path: Path
    text: str
    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def types(self) -> dict[str, str]:
        """Every participant with its type: server, client or admin."""
        return {str(one["name"]): str(one["type"]) for one in self.data["participants"]}

    @property
    def server(self) -> str:
        """The one participant that is the server; reading has made sure of it."""
        return next(name for name, kind in self.types.items() if kind == "server")

    @property
    def keys_at_home(self) -> bool:
        """Whether everybody makes their own private key, and the hub signs."""
        said = (arguments(self.data, KIT_BUILDER) or {}).get("keys_at_home") is True
        return said or (self.path.parent / REQUESTS).is_dir()  # as earlier releases left it

    @property
    def roles(self) -> dict[str, str]:
        """Every person with their role."""
        people = [one for one in self.data["participants"] if one["type"] == "admin"]
        return {str(one["name"]): str(one.get("role", "")) for one in people}

    @property
    def retired(self) -> list[str]:
        """Whom the server refuses."""
        names = self._kit_arguments().get("retired") or []
        if not isinstance(names, list):
            raise ProvisionError(
                f"project file {self.path} has retired: {names!r}, which is no list; write the "
                "names as [...], in quotes"
            )
        require_texts(self.path, names)
        return list(names)

    def called(self, said: str) -> str:
        """The participant whom ``said`` means: a name, or a hospital's as people write it.

        Raises ProvisionError, proposing the nearest.
        """
        written = self._written()
        derived = hospital(said)
        for name in (said, written.get(derived.written.casefold(), ""), derived.name):
            if name in self.types:
                return name
        known = ", ".join(self.types)
        hint = do_you_mean(said, self.types)
        raise ProvisionError(f"{said!r} is not in {self.path}, which has {known}{hint}")

    def ever_called(self, said: str) -> str:
        """As ``called``, of those who are retired as well."""
        for name in (said, hospital(said).name):
            if name in self.retired and name not in self.types:
                return name
        return self.called(said)

    def _written(self) -> dict[str, str]:
        """Names by how people write them, which stands in a comment beside each."""
        lines = self.text.splitlines()
        found = {}
        for name, (first, _) in self._marks().items():
            if comment := lines[first].partition(" # ")[2]:
                found[" ".join(comment.split()).casefold()] = name
        return found

    def with_block(self, block: str, kind: str) -> "ProjectFile":
        """With the lines of one more participant, after the last one of its ``kind``."""
        marks = self._marks()
        last = [mark for name, mark in marks.items() if self.types[name] == kind] or list(
            marks.values()
        )
        lines = self.text.splitlines(keepends=True)
        at = last[-1][1]
        return self._reread("".join([*lines[:at], block, *lines[at:]]))

    def without(self, name: str) -> "ProjectFile":
        """Without the lines of one participant."""
        first, end = self._marks()[name]
        lines = self.text.splitlines(keepends=True)
        return self._reread("".join([*lines[:first], *lines[end:]]))

    def retiring(self, name: str) -> "ProjectFile":
        """With ``name`` among those whom the server refuses."""
        lines = self.text.splitlines()
        found = [i for i, line in enumerate(lines) if line.lstrip().startswith("retired:")]
        if len(found) != 1:
            raise ProvisionError(
                f"project file {self.path} has no line `retired: []` in the args of {KIT_BUILDER}; "
                "add it, as `fedefm provision init` writes it"
            )
        line = lines[found[0]]
        indent = line[: len(line) - len(line.lstrip())]
        lines[found[0]] = retired_line(
            indent, [*(one for one in self.retired if one != name), name]
        )
        return self._reread("\n".join(lines) + "\n")

    def _reread(self, text: str) -> "ProjectFile":
        return ProjectFile(self.path, text, parse_project(self.path, text))

    def _kit_arguments(self) -> Mapping[str, Any]:
        found = arguments(self.data, KIT_BUILDER)
        if found is None:
            raise ProvisionError(
                f"project file {self.path} does not name {KIT_BUILDER}, so that its kits would be "
                "as FLARE makes them; add it as the last of the builders"
            )
        return found

    def _marks(self) -> dict[str, tuple[int, int]]:
        """First line and line after the last of each participant."""
        root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        assert isinstance(root, yaml.MappingNode)
        (participants,) = [
            value for key, value in root.value if key.value == "participants"
        ]  # that there is one, reading has made sure
        marks = {}
        for node in participants.value:
            names = [str(value.value) for key, value in node.value if key.value == "name"]
            if len(names) != 1:
                raise ProvisionError(
                    f"project file {self.path}, line {node.start_mark.line + 1}: this participant "
                    "has its name from elsewhere (`<<`); write `name:` beside its `type:`"
                )
            (name,) = names
            marks[name] = (node.start_mark.line, _last_line(node) + 1)
        return marks


def _last_line(node: yaml.Node) -> int:
    """Where the text of ``node`` ends; that of a block is said to end where the next begins."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.line)
    last = node.value[-1]
    return _last_line(last[1] if isinstance(node, yaml.MappingNode) else last)


def read_project(path: Path) -> ProjectFile:
    """The project file at ``path``. Raises ProvisionError, naming what is wrong with it."""
    if not path.is_file():
        raise ProvisionError(
            f"there is no project file {path}; make one with `fedefm provision init`, or name yours"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProvisionError(f"project file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ProvisionError(
            f"project file {path} is no text in UTF-8 (byte {error.start}: {error.reason}); save "
            "it as UTF-8, or put it back from a backup"
        ) from None
    return ProjectFile(path, text, parse_project(path, text))

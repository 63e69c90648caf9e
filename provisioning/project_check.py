"""Whether a project file says what kits can be made of."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fedefm.errors import ProvisionError
from provisioning.project import LONGEST_DAYS
from provisioning.project_text import CERT_BUILDER


def parse_project(path: Path, text: str) -> Mapping[str, Any]:
    """The settings in ``text``. Raises ProvisionError, naming what is wrong with the first."""
    try:
        data = yaml.safe_load(text)
        twice = next(_said_twice(yaml.compose(text, Loader=yaml.SafeLoader)), None)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ProvisionError(f"project file {path} is no YAML: {error}") from None
    if twice is not None:
        raise ProvisionError(
            f"project file {path}, line {twice.start_mark.line + 1}: {twice.value!r} stands there "
            "twice; take one of the two away"
        )
    whole = _whole(path, data)
    _require_kits_of(path, whole)
    return whole


def arguments(data: Mapping[str, Any], builder: str) -> Mapping[str, Any] | None:
    """The args of a builder; None where the file does not name it."""
    found = [one for one in data.get("builders") or [] if one["path"] == builder]
    return (found[0].get("args") or {}) if found else None


def require_texts(path: Path, names: Sequence[object]) -> None:
    """Raises ProvisionError for a name that YAML took for something else."""
    for name in names:
        if not isinstance(name, str):
            raise ProvisionError(
                f"project file {path} has the name {name!r}, which is no text to YAML; write it "
                "in quotes, as `fedefm provision init` does"
            )


def _whole(path: Path, data: Any) -> Mapping[str, Any]:
    """The settings, with the parts that all else relies on. Raises ProvisionError."""
    participants = data.get("participants") if isinstance(data, dict) else None
    if (
        not isinstance(data, dict)
        or data.get("name", "") in ("", None)
        or not isinstance(participants, list)
        or not all(isinstance(one, dict) and {"name", "type"} <= set(one) for one in participants)
    ):
        raise ProvisionError(
            f"project file {path} needs a name, and participants with name and type each, as "
            "`fedefm provision init` writes them"
        )
    require_texts(path, [data["name"], *(one["name"] for one in participants)])
    builders = data.get("builders") or []
    if not isinstance(builders, list) or not all(
        isinstance(one, dict)
        and isinstance(one.get("path"), str)
        and isinstance(one.get("args") or {}, dict)
        for one in builders
    ):
        raise ProvisionError(
            f"project file {path} needs builders as a list, each with path and perhaps args, as "
            "`fedefm provision init` writes them"
        )
    return data


def _require_kits_of(path: Path, data: Mapping[str, Any]) -> None:
    """Raises ProvisionError where FLARE would make no kits of it."""
    names = [one["name"] for one in data["participants"]]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ProvisionError(
            f"project file {path} has {twice[0]!r} more than once; take the lines of one away"
        )
    servers = [one for one in data["participants"] if one["type"] == "server"]
    if len(servers) != 1:
        raise ProvisionError(
            f"project file {path} has {len(servers)} participants with `type: server`, and "
            "needs one; write it as `fedefm provision init` does"
        )
    days = arguments(data, CERT_BUILDER) or {}
    for setting in ("valid_days", "root_valid_days"):
        said = days.get(setting, 1)
        if isinstance(said, bool) or not isinstance(said, int) or not 1 <= said <= LONGEST_DAYS:
            raise ProvisionError(
                f"project file {path} has {setting}: {said!r}; write a number of days from 1 "
                f"to {LONGEST_DAYS}"
            )


def _said_twice(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """The keys of which YAML would take the last one only."""
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _said_twice(each)
    if isinstance(node, yaml.MappingNode):
        said = [key.value for key, _ in node.value if isinstance(key.value, str)]
        for key, value in node.value:
            if isinstance(key.value, str) and said.count(key.value) > 1:
                yield key
            yield from _said_twice(value)

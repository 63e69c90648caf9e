"""A part of a file, how a file is read, and how its mistakes are told: all of them at once."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError, ValidationInfo, field_validator

from fedefm.errors import ConfigError, all_problems
from fedefm.words import several

Name = str


class Section(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """A part of a file: immutable, and any key that it does not know is a mistake."""

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, field: ValidationInfo) -> Any:
        """YAML reads yes, no, on and off as truth values, and those would count as 1 and 0."""
        wanted = cls.model_fields[field.field_name or ""].annotation
        if isinstance(value, bool) and wanted is not bool:
            raise ValueError(f"{value} (yes, no, on, off) is no possible value; quote it if a name")
        return value


FileModel = TypeVar("FileModel", bound=Section)


def parse(data: Any, model: type[FileModel], what: str) -> FileModel:
    """``data`` as ``model``. Raises ConfigError with every mistake."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [_sentence(dict(detail)) for detail in error.errors()]
        raise ConfigError(all_problems(what, problems)) from None


def dump(config: Section) -> str:
    """The YAML text that reads back as ``config``."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


class _NothingLost(yaml.SafeLoader):
    """YAML lets the last of two equal names win, and the first one's settings would be lost.

    A name with nothing behind it reads as null. A section of which all lines are commented out
    would be switched off, privacy among them.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{name!r} stands there twice", problem_mark=key.start_mark
                )
            if isinstance(value, yaml.ScalarNode) and not value.value and not value.style:
                raise yaml.MarkedYAMLError(
                    problem=f"nothing stands behind {name!r}; take the name out, or write "
                    "null for nothing, {} for the defaults of a section",
                    problem_mark=key.start_mark,
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def read(path: Path, model: type[FileModel], what: str) -> FileModel:
    """The file at ``path`` as ``model``. Raises ConfigError with every mistake of the file."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _NothingLost)
    except FileNotFoundError:
        raise ConfigError(f"{what} {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(
            f"{what} {path} holds no settings; it must be a mapping of names to values"
        )
    return parse(data, model, f"{what} {path}")


def _sentence(detail: dict[str, Any]) -> str:
    at = ".".join(str(part) for part in detail["loc"])
    where = at or "file"
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        return f"{where} is not a known setting"
    if detail["type"] == "missing":
        return f"{where} is missing"
    if detail["type"] in ("model_type", "dict_type"):
        return f"{where} = {detail['input']!r}: must be a mapping of names to values"
    if detail["type"] in ("tuple_type", "list_type"):
        return f"{where} = {detail['input']!r}: must be a list"
    if detail["type"] == "too_short":
        found, least = (detail["ctx"][key] for key in ("actual_length", "min_length"))
        return f"{where} has {several(found, 'entry', 'entries')} and needs at least {least}"
    reason = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return f"{at}: {reason}" if at else reason  # of the whole, several settings are at fault
    return f"{where} = {detail.get('input')!r}: {reason[0].lower()}{reason[1:]}"

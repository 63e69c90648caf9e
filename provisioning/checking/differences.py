"""In what settings differ from those that a new kit would have, and which differences matter."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NAMES_CODE = ("path", "class_path", "name", "id", "class", "()")  # what FLARE takes a class by
LONGEST = 80


@dataclass(frozen=True)
class Difference:
    """``said`` names the place and both values; one that ``matters`` may let other code run."""

    said: str
    matters: bool
    missing: bool = False  # in what was found, so that it is to be put back


def differences(expected: object, found: object, at: str = "") -> Iterator[Difference]:
    """Every one. Another number or text is harmless, unless it names a class or what it is for."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        yield from _of_settings(expected, found, at)
    elif _components(expected) and isinstance(found, list):
        yield from _of_components(expected, found, at)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, f"{at}[{number}]")
    elif type(expected) is not type(found) or expected != found:
        harmless = _plain(expected) and _plain(found) and at.rpartition(".")[2] not in NAMES_CODE
        yield Difference(f"{at} is {_short(found)}, not {_short(expected)}", not harmless)


def _of_settings(
    expected: Mapping[str, Any], found: Mapping[str, Any], at: str
) -> Iterator[Difference]:
    is_component = bool({"path", "id"} & set(expected))
    for name, value in expected.items():
        place = f"{at}.{name}" if at else name
        if name in found:
            yield from differences(value, found[name], place)
        else:
            yield Difference(f"{place} is missing", is_component or not _plain(value), True)
    for name in [name for name in found if name not in expected]:
        place = f"{at}.{name}" if at else name
        code = is_component or not _plain(found[name]) or name in NAMES_CODE
        yield Difference(f"{place} is {_short(found[name])}, which a new kit has not", code)


def _of_components(expected: Any, found: list[Any], at: str) -> Iterator[Difference]:
    """By id, in any order."""
    wanted = {one["id"]: one for one in expected}
    ids = [one.get("id") if isinstance(one, dict) else None for one in found]
    for name, one in zip(ids, found, strict=True):
        if not isinstance(name, str) or name not in wanted:
            path = one.get("path", one.get("name")) if isinstance(one, dict) else one
            yield Difference(f"{at} also has {_short(name)}, of class {_short(path)}", True)
        else:
            yield from differences(wanted[name], one, f"{at}.{name}")
    for name in wanted:
        if ids.count(name) != 1:
            missing = name not in ids
            times = "has no" if missing else f"has {ids.count(name)} times"
            yield Difference(f"{at} {times} {name}", True, missing)


def _components(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, Mapping) and "id" in one for one in value)
    )


def _plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."

"""What FLARE runs to write logs: Python's logging imports and calls whatever its settings name."""

import json
from collections.abc import Iterator

from fedefm.errors import ProvisionError
from provisioning.checking.kit import Kit
from provisioning.finding import Finding, ok, problem

FILES = ("log_config.json", "log_config.json.default")  # FLARE takes the first that is there
OURS = "nvflare.fuel.utils.log_utils."
KNOWN = {
    *(f"{OURS}{name}" for name in ("BaseFormatter", "ColorFormatter", "JsonFormatter")),
    f"{OURS}LoggerNameFilter",
    "logging.StreamHandler",
    "logging.FileHandler",
    "logging.NullHandler",
    "logging.Formatter",
    "logging.handlers.RotatingFileHandler",
    "logging.handlers.TimedRotatingFileHandler",
    "ext://sys.stdout",
    "ext://sys.stderr",
}
CALLED = ("()", "class")  # what stands here is called


def check_log_code(kit: Kit) -> Iterator[Finding]:
    """Classes and objects in the log settings that FLARE's own have not: these write to files of
    the kit and to the screen, and to nothing else."""
    foreign = {name: sorted(set(_named(_read(kit, name))) - KNOWN) for name in FILES}
    told = [f"local/{name}: {', '.join(names[:3])}" for name, names in foreign.items() if names]
    for each in told:
        fix = "take it out; it would run, or carry logs elsewhere"
        yield problem("log settings", f"logging calls what is not FLARE's in {each}", fix)
    if not told:
        yield ok("log settings", "logs go to files of the kit and to the screen")


def _read(kit: Kit, name: str) -> dict[str, object]:
    try:
        settings = json.loads((kit.local / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ProvisionError(f"local/{name} cannot be read: {error}") from None
    if not isinstance(settings, dict):
        raise ProvisionError(f"local/{name} holds no settings of logs")
    return settings


def _named(settings: object) -> Iterator[str]:
    if isinstance(settings, str) and settings.startswith("ext://"):
        yield settings
    elif isinstance(settings, dict):
        for name, value in settings.items():
            if name in CALLED:
                yield value if isinstance(value, str) else repr(value)
            else:
                yield from _named(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _named(value)

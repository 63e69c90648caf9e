"""Results as JSON for scripts."""

import json
import math
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


def as_json(value: Any) -> str:
    """Dataclasses, mappings and sequences as indented JSON; undefined numbers become null."""
    return json.dumps(_plain(value), indent=2)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value

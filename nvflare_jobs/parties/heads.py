"""What the server remembers of the sites' ledgers: the newest entry that each of them told.

A site whose ledger was put back to an older copy lacks that entry, and refuses to train. The server
learns the entry's place and hash, and nothing of what was spent.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedefm.errors import ConfigError

HEADS_FILE = "ledger_heads.json"
KNOWN_HEADS, HEAD = "ledger_heads", "ledger_head"  # in a task, and in an answer


class KnownHeads:
    """The heads by site. ``memory`` outlives jobs; ``record`` is the same in a job's run folder."""

    def __init__(self, memory: Path, record: Path) -> None:
        self._memory, self._record = memory, record
        self._heads: dict[str, dict[str, Any]] = _read(memory)

    def of(self, sites: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What is known of these sites, for their next task."""
        return {site: self._heads[site] for site in sites if site in self._heads}

    def note(self, answers: Mapping[str, Mapping[str, Any]]) -> None:
        """Remember what the sites told, on the disk when this returns."""
        told = {site: a[HEAD] for site, a in answers.items() if _is_head(a.get(HEAD))}
        newer = {site: head for site, head in told.items() if self._is_newer(site, head)}
        if not newer:
            return
        self._heads |= newer
        text = json.dumps(self._heads, indent=2, sort_keys=True) + "\n"
        for path in (self._memory, self._record):
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f"{path.name}.unfinished")
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(path)

    def _is_newer(self, site: str, head: Mapping[str, Any]) -> bool:
        known = self._heads.get(site)
        return known is None or head["sequence"] > known["sequence"]


def _read(memory: Path) -> dict[str, dict[str, Any]]:
    if not memory.exists():
        return {}
    try:
        heads = json.loads(memory.read_text(encoding="utf-8"))
        valid = all(isinstance(site, str) and _is_head(head) for site, head in heads.items())
    except (OSError, AttributeError, ValueError):
        valid = False
    if not valid:
        raise ConfigError(
            f"{memory} does not hold what the server remembers of the sites' ledgers; put back a "
            "copy, or take them from the run folder of the newest job"
        )
    return dict(heads)


def _is_head(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"sequence", "hash"}
        and type(value["sequence"]) is int
        and value["sequence"] >= 1
        and isinstance(value["hash"], str)
    )

"""Segmentation overlays for the report: the best and the worst, each with its score.

``segmentation/scores.json`` lists the overlays next to it:
``{"images": [{"file": "0007.png", "dice": {"catheter": 0.81, "guidewire": 0.64}}, ...]}``.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from fedefm.errors import DataError
from fedefm.report.numbers import known

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Overlay:
    """One picture and its Dice by class; classes that are neither there nor predicted have none."""

    name: str
    dice: dict[str, float]
    source: str  # data URI

    @property
    def mean(self) -> float:
        """Mean Dice over the classes that have one."""
        return sum(self.dice.values()) / len(self.dice)


def best_and_worst(folder: Path, each: int = 3) -> tuple[list[Overlay], list[Overlay]]:
    """The ``each`` best (best first) and worst (worst first) overlays; empty where there are none.

    Raises DataError where ``scores.json`` cannot be read.
    """
    entries = sorted(_entries(folder), key=lambda entry: sum(entry[1].values()) / len(entry[1]))
    each = min(each, (len(entries) + 1) // 2)
    worst, best = entries[:each], entries[max(each, len(entries) - each) :][::-1]
    if len(entries) == 1:
        worst, best = [], entries
    return [_load(folder, *e) for e in best], [_load(folder, *e) for e in worst]


def _entries(folder: Path) -> list[tuple[str, dict[str, float]]]:
    path = folder / "scores.json"
    if not path.is_file():
        return []
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["images"]
        scored = [(Path(e["file"]).name, e["dice"]) for e in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error!r}); write it again or remove it") from None
    kept = [(name, {c: d for c, d in dice.items() if known(d)}) for name, dice in scored]
    return [(name, dice) for name, dice in kept if dice and _is_png(folder / name)]


def _is_png(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[:8] == _PNG


def _load(folder: Path, name: str, dice: dict[str, float]) -> Overlay:
    picture = base64.b64encode((folder / name).read_bytes()).decode()
    return Overlay(Path(name).stem, dice, f"data:image/png;base64,{picture}")

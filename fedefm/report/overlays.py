"""Segmentation overlays for the report: the best, the usual and the worst, each with its score.

``segmentation/scores.json`` lists the overlays next to it:
``{"images": [{"file": "0007.png", "case": "best", "dice": {"catheter": 0.81}}, ...]}``.
``case`` is best, median or worst; where none is named, the rank among those listed decides.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from fedefm.errors import DataError
from fedefm.report.numbers import decimal, known, listed

CASES = {"best": "The best", "median": "In the middle", "worst": "The worst"}
EACH = 3
_PNG = b"\x89PNG\r\n\x1a\n"
_Entry = tuple[str, str, dict[str, float]]  # file, case, Dice by class


@dataclass(frozen=True)
class Overlay:
    """One picture and its Dice by class; classes that are neither there nor predicted have none."""

    name: str
    case: str
    dice: dict[str, float]
    source: str  # data URI

    @property
    def words(self) -> str:
        """What is to be seen, for whoever cannot see it."""
        scores = listed(f"Dice {decimal(d, 2)} ({name})" for name, d in self.dice.items())
        which = {"best": "best", "median": "middling", "worst": "worst"}[self.case]
        return f"Masks drawn on a test image, one of the {which} predictions: {scores}."


def overlays(folder: Path) -> dict[str, list[Overlay]]:
    """Up to ``EACH`` overlays by case: best first, worst first; empty where there are none.

    Raises DataError where ``scores.json`` cannot be read.
    """
    entries = sorted(_entries(folder), key=lambda entry: -_mean(entry[2]))
    if not all(case in CASES for _, case, _ in entries):
        entries = _ranked(entries)
    found = {case: [entry for entry in entries if entry[1] == case] for case in CASES}
    found["worst"].reverse()
    return {
        case: [_load(folder, *entry) for entry in chosen[:EACH]]
        for case, chosen in found.items()
        if chosen
    }


def _ranked(entries: list[_Entry]) -> list[_Entry]:
    """The same with cases by rank; those between them have none and are left out."""
    each = min(EACH, (len(entries) + 1) // 2)
    best, rest = entries[:each], entries[each:]
    worst = rest[max(0, len(rest) - each) :]
    middle = rest[: len(rest) - len(worst)]
    usual = middle[max(0, (len(middle) - EACH) // 2) :][:EACH]
    chosen = (("best", best), ("median", usual), ("worst", worst))
    return [(file, case, dice) for case, some in chosen for file, _, dice in some]


def _mean(dice: dict[str, float]) -> float:
    return sum(dice.values()) / len(dice)


def _entries(folder: Path) -> list[_Entry]:
    path = folder / "scores.json"
    if not path.is_file():
        return []
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["images"]
        scored = [(Path(e["file"]).name, str(e.get("case", "")), e["dice"]) for e in told]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({error!r}); write it again or remove it") from None
    kept = [(name, case, _known(dice)) for name, case, dice in scored]
    return [entry for entry in kept if entry[2] and _is_png(folder / entry[0])]


def _known(dice: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in dice.items() if known(value)}


def _is_png(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[:8] == _PNG


def _load(folder: Path, name: str, case: str, dice: dict[str, float]) -> Overlay:
    picture = base64.b64encode((folder / name).read_bytes()).decode()
    return Overlay(Path(name).stem, case, dice, f"data:image/png;base64,{picture}")

"""What an autoencoder painted, for the report: some of the best, the usual and the worst images.

``painted/scores.json`` lists the pictures beside it:
``{"images": [{"file": "best_1.png", "case": "best", "explained": 0.61}, ...]}``.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from fedefm.errors import DataError
from fedefm.report.numbers import percent

CASES = {"best": "one of the best", "median": "one as usual", "worst": "one of the worst"}


@dataclass(frozen=True)
class Painting:
    """One picture, three images wide; ``score`` is the share of the hidden variance explained."""

    case: str
    score: float
    source: str  # data URI

    @property
    def title(self) -> str:
        """Which one it is."""
        return CASES[self.case][0].upper() + CASES[self.case][1:]

    @property
    def words(self) -> str:
        """What is to be seen, for whoever cannot see it."""
        return (
            f"A test image, {CASES[self.case]}: what was seen of it, what was painted, and the "
            f"truth. {percent(self.score)} of the variance within hidden patches is explained."
        )


def paintings(folder: Path) -> list[Painting]:
    """Those in ``folder``; none where there are none. Raises DataError where they are damaged."""
    path = folder / "scores.json"
    if not path.is_file():
        return []
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["images"]
        found = [(Path(e["file"]).name, str(e["case"]), float(e["explained"])) for e in told]
        return [
            Painting(case, score, _source(folder / name))
            for name, case, score in found
            if case in CASES
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error!r}); write it again or remove it") from None


def _source(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"

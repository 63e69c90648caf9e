"""Which corpus the shared model takes for which, on test images."""

from dataclasses import dataclass

from fedefm.report.numbers import count, listed, percent
from fedefm.report.record import RunRecord


@dataclass(frozen=True)
class Confusion:
    """``counts[i][j]``: how many images of class i were taken for class j."""

    split: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def rows(self) -> list[tuple[str, int, list[tuple[int, float]]]]:
        """Each class that has images: its name, how many, and count and share by answer."""
        return [
            (name, sum(row), [(number, number / sum(row)) for number in row])
            for name, row in zip(self.classes, self.counts, strict=True)
            if sum(row)
        ]

    def recognized(self) -> dict[str, float]:
        """Of the images of each class, the share put into it."""
        return {
            name: shares[self.classes.index(name)][1] for name, _, shares in self.rows
        }  # a class without images has no share

    def meaning(self) -> str:
        """Which corpus is recognized best and worst, and what the worst is taken for."""
        shares = self.recognized()
        ranked = sorted(shares, key=shares.__getitem__)
        if len(ranked) < 2 or shares[ranked[0]] == shares[ranked[-1]]:
            return f"Every corpus is recognized alike: {percent(shares[ranked[0]])} of its images."
        worst, best = ranked[0], ranked[-1]
        others = [name for name in ranked if shares[name] == shares[best]]
        text = f"Of {listed(others)}, the shared model recognizes {percent(shares[best])}"
        text = f"{text}; of {worst}, {percent(shares[worst])}, the least"
        return f"{text}{self._mistaken(worst)}."

    def _mistaken(self, name: str) -> str:
        row = next(shares for each, _, shares in self.rows if each == name)
        own = self.classes.index(name)
        wrong = [(share, place) for place, (_, share) in enumerate(row) if place != own and share]
        if not wrong:
            return ""
        share, place = max(wrong)
        return f": it is most often taken for {self.classes[place]} ({percent(share)})"

    @property
    def images(self) -> str:
        """How many there are."""
        return count(sum(map(sum, self.counts)), "image")


def confusion_of(record: RunRecord) -> Confusion | None:
    """What the run told last, None where it told nothing or something that is no such table."""
    told = list(record.of("confusion"))
    if not told:
        return None
    classes = tuple(map(str, told[-1]["classes"]))
    try:
        counts = tuple(tuple(int(number) for number in row) for row in told[-1]["counts"])
    except (TypeError, ValueError):
        return None
    square = len(counts) == len(classes) and all(len(row) == len(classes) for row in counts)
    whole = square and any(map(sum, counts)) and min(map(min, counts)) >= 0
    return Confusion(str(told[-1].get("split", "test")), classes, counts) if whole else None

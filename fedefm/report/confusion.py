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
        least, most = min(shares.values()), max(shares.values())
        if least == most:
            return f"The shared model recognizes {percent(most)} of every corpus."
        worst = [name for name, share in shares.items() if share == least]
        best = [name for name, share in shares.items() if share == most]
        text = f"The shared model recognizes {percent(most)} of {_named(best)}, the most, and "
        text += f"{percent(least)} of {_named(worst)}, the least"
        return f"{text}{self._mistaken(worst[0]) if len(worst) == 1 else ''}."

    def _mistaken(self, name: str) -> str:
        row = next(shares for each, _, shares in self.rows if each == name)
        own = self.classes.index(name)
        wrong = [(share, place) for place, (_, share) in enumerate(row) if place != own and share]
        if not wrong:
            return ""
        share, place = max(wrong)
        return f", which it most often takes for {self.classes[place]} ({percent(share)})"

    @property
    def images(self) -> str:
        """How many there are."""
        return count(sum(map(sum, self.counts)), "image")


def _named(names: list[str]) -> str:
    return listed(names) if len(names) <= 3 else f"each of {count(len(names))} corpora"


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

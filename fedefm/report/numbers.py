"""Numbers as a reader meets them: always with a unit, and "not measured" where there is none."""

import math
from collections.abc import Iterable
from typing import TypeGuard

from fedefm.words import several

NOT_MEASURED = "not measured"
_SPACE = "\u00a0"  # no line break between a number and its unit


def percent(share: float | None) -> str:
    """A share in [0, 1] as per cent with one decimal."""
    return f"{100 * share:.1f}{_SPACE}%" if known(share) else NOT_MEASURED


def decimal(value: float | None, places: int = 3) -> str:
    """A plain number, such as a loss or a Dice score, which has no unit."""
    return f"{value:.{places}f}" if known(value) else NOT_MEASURED


def epsilon(value: float | None) -> str:
    """A privacy loss with two decimals, rounded up: a smaller number would promise too much."""
    return f"{math.ceil(100 * value - 1e-9) / 100:.2f}" if known(value) else "without bound"


def count(number: float | None, noun: str = "") -> str:
    """A whole number with its noun: ``count(1200, "image")`` is ``1,200 images``."""
    if not known(number):
        return NOT_MEASURED
    return several(round(number), noun).replace(" ", _SPACE, 1) if noun else f"{number:,.0f}"


def data_size(size: float | None) -> str:
    """Bytes in decimal units, three figures."""
    if not known(size):
        return NOT_MEASURED
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.5 or unit == "TB":
            break
        value /= 1000
    places = 0 if unit == "B" or value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{places}f}{_SPACE}{unit}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if not known(seconds):
        return NOT_MEASURED
    total = float(seconds)
    if total < 59.5:
        return f"{total:.{0 if total >= 10 else 1}f}{_SPACE}s"
    minutes, rest = divmod(round(total), 60)
    if minutes < 60:
        return f"{minutes}{_SPACE}min{_SPACE}{rest:02d}{_SPACE}s"
    hours, minutes = divmod(round(total / 60), 60)
    return f"{hours}{_SPACE}h{_SPACE}{minutes:02d}{_SPACE}min"


def ranges(numbers: Iterable[int]) -> str:
    """Sorted whole numbers with runs folded: ``4-6, 9`` (with an en dash)."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in runs)


def listed(names: Iterable[str]) -> str:
    """Names as part of a sentence: ``a, b and c``."""
    words = list(names)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def plain(text: str) -> str:
    """``text`` for a terminal or a log, where words are searched for and wrapped by others."""
    return text.replace(_SPACE, " ")


def known(value: float | None) -> TypeGuard[float]:
    """Whether ``value`` is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)

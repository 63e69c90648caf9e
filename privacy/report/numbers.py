"""Numbers and dates as the officer reads them: bounds are rounded up, what is left down."""

import math
from datetime import datetime


def epsilon(value: float | None) -> str:
    """Three decimals, rounded up: an epsilon is a bound."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "without bound"
    return "0" if value == 0 else f"{_up(value):,.3f}"


def below(value: float | None) -> str:
    """What is left, rounded down."""
    return "–" if value is None else f"{math.floor(value * 1000 + 1e-9) / 1000:,.3f}"


def exact(value: float) -> str:
    """A number as a person writes it, such as 1e-5."""
    return f"{value:g}".replace("e-0", "e-").replace("e+0", "e+")


def day(when: datetime) -> str:
    """The date, in universal time."""
    return when.strftime("%Y-%m-%d")


def moment(when: datetime) -> str:
    """Date and time, in universal time."""
    return f"{to_the_minute(when)} UTC"


def to_the_minute(when: datetime) -> str:
    """Date and time, in universal time, where that is said elsewhere."""
    return when.strftime("%Y-%m-%d %H:%M")


def _up(value: float) -> float:
    return math.ceil(value * 1000 - 1e-9) / 1000

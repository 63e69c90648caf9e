"""Where a slowly computed, rising function of a whole number first reaches zero."""

import math
from collections.abc import Callable


def first_not_negative(rising: Callable[[int], float], low: int, high: int) -> int:
    """The smallest number in ``(low, high]`` at which ``rising`` is not negative.

    It must be negative at ``low`` and not at ``high``, and may be infinite. False position in its
    Illinois form: an end that stays twice counts by half. Every number is asked for once.
    """
    below, above, side = rising(low), rising(high), 0
    while high - low > 1:
        share = below / (below - above) if math.isfinite(below - above) else 0.5
        middle = min(max(low + math.ceil(share * (high - low)), low + 1), high - 1)
        value = rising(middle)
        if value < 0:
            low, below = middle, value
            above, side = (above / 2 if side < 0 else above), -1
        else:
            high, above = middle, value
            below, side = (below / 2 if side > 0 else below), 1
    return high

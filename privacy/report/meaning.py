"""What an epsilon lets somebody find out, in numbers that need no mathematics.

Anybody who sees all that left a site, and knows everything else in the world, still has to guess
whether one given patient was among those trained on. Epsilon and delta bound how well.
"""

import math

from privacy.report.numbers import exact

ACCUSED = 0.01  # of patients who were not trained on, the share whom a guesser accuses wrongly

ADJACENCY = {
    "add_or_remove_one": "adding or removing one",
    "replace_one": "replacing one",
}


def odds_factor(epsilon: float) -> float:
    """By how much the odds that a patient took part can rise, apart from delta."""
    return math.exp(min(epsilon, 700.0))


def found_at_most(epsilon: float, delta: float, accused: float = ACCUSED) -> float:
    """Of patients who were trained on, the largest share that any guesser recognizes.

    ``accused`` is the share of the others whom the same guesser takes for participants. Both bounds
    follow from the definition of differential privacy, applied to the guess and to its contrary.
    """
    factor = odds_factor(epsilon)
    return max(accused, min(1.0, factor * accused + delta, 1 - (1 - accused - delta) / factor))


def strength(epsilon: float) -> str:
    """How "How to DP-fy ML" (arXiv 2303.00654, section 5.2.1) ranks such an epsilon."""
    if epsilon == 0:
        return "nothing was spent"
    if epsilon <= 1:
        return "strong"
    if epsilon <= 10:
        return "reasonable, where the unit is a person"
    return "weak: a bound on paper, to be backed by tests of the model itself"


def in_words(epsilon: float, delta: float, unit: str) -> str:
    """The bound as two sentences; ``unit`` is patient or image."""
    if epsilon == 0:
        return f"Nothing that was trained on any {unit} here has been counted as released."
    found, factor = found_at_most(epsilon, delta), odds_factor(epsilon)
    return (
        f"Whoever sees everything that left this site, and guesses of each {unit} whether it was "
        f"trained on, with 1 wrong accusation in 100, {_recognizes(found)} of those that were; "
        f"without having seen anything it would be 1 %. The odds for any one {unit} "
        f"rise at most {_times(factor)}, except with probability {exact(delta)}."
    )


def _recognizes(share: float) -> str:
    if share >= 0.999:
        return "may recognize more than 99.9 %"
    return f"recognizes at most {100 * share:.3g} %"


def _times(factor: float) -> str:
    if factor >= 1e6:
        return "more than a million-fold"
    rounded = float(f"{factor:.3g}")  # three digits, also of thousands
    return f"{rounded:,.0f}-fold" if rounded >= 1000 else f"{rounded:g}-fold"

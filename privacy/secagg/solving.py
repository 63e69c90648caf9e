"""What can be solved for, given linear equations: exact, in the integers modulo a prime.

Floating point must decide below which size a number counts as zero, and a wrong decision would call
an exposed site hidden. Modulo a prime nothing is rounded. An equation between rationals holds here
as well; one that does not could only seem to hold if the prime divided it, which for 61 bits and
the small fractions of a plan is not met by chance.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

PRIME = 2**61 - 1
Equation = tuple[int, ...]  # coefficients of the unknowns, modulo PRIME


def residue(value: Fraction | int) -> int:
    """``value`` modulo the prime; its denominator must not be a multiple of the prime."""
    return value.numerator * pow(value.denominator, -1, PRIME) % PRIME


class Span:
    """All linear combinations of some equations: what can be calculated from them.

    Immutable in use: ``with_equations`` makes another one, and shares what did not change.
    """

    def __init__(self) -> None:
        """Of no equations."""
        # Reduced row echelon form, by pivot: 1 there, 0 at all other pivots. It is unique.
        self._rows: dict[int, Equation] = {}

    @property
    def rank(self) -> int:
        """How many independent equations there are."""
        return len(self._rows)

    def equations(self) -> list[Equation]:
        """The fewest equations that say the same."""
        return list(self._rows.values())

    def with_equations(self, equations: Iterable[Sequence[int]]) -> "Span":
        """The span of these and the given ones, coefficients modulo the prime."""
        span = Span()
        span._rows = dict(self._rows)
        for equation in equations:
            span._take(equation)
        return span

    def solved(self) -> frozenset[int]:
        """The unknowns whose value follows: those with a row that holds nothing else."""
        return frozenset(pivot for pivot, row in self._rows.items() if sum(map(bool, row)) == 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Span) and self._rows == other._rows

    __hash__ = None  # type: ignore[assignment]  # compared, never looked up

    def _take(self, equation: Sequence[int]) -> None:
        left = tuple(equation)
        for pivot, row in self._rows.items():
            left = _without(left, row, pivot)
        new = next((place for place, value in enumerate(left) if value), None)
        if new is None:
            return  # it followed from the others
        inverse = pow(left[new], -1, PRIME)
        left = tuple(value * inverse % PRIME for value in left)
        self._rows = {pivot: _without(row, left, new) for pivot, row in self._rows.items()}
        self._rows[new] = left


def _without(equation: Equation, row: Equation, pivot: int) -> Equation:
    """``equation`` minus so much of ``row`` that nothing is left at ``pivot``, where it has 1."""
    factor = equation[pivot]
    if not factor:
        return equation
    return tuple((a - factor * b) % PRIME for a, b in zip(equation, row, strict=True))

"""One patient, two patients."""

import pytest

from fedefm.words import several


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, "0 problems"), (1, "1 problem"), (2, "2 problems"), (1200, "1,200 problems")],
)  # fmt: skip
def test_a_noun_goes_with_its_number(number: int, told: str) -> None:
    assert several(number, "problem") == told


def test_a_plural_may_be_given() -> None:
    assert [several(n, "entry", "entries") for n in (1, 3)] == ["1 entry", "3 entries"]

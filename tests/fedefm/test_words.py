"""One patient, two patients, rows 2-9."""

import pytest

from fedefm.words import several, spans


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, "0 problems"), (1, "1 problem"), (2, "2 problems"), (1200, "1,200 problems")],
)  # fmt: skip
def test_a_noun_goes_with_its_number(number: int, told: str) -> None:
    assert several(number, "problem") == told


def test_a_plural_may_be_given() -> None:
    assert [several(n, "entry", "entries") for n in (1, 3)] == ["1 entry", "3 entries"]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([], ""),
        ([7], "7"),
        ([2, 3, 4], "2-4"),
        ([2, 5], "2 and 5"),
        ([2, 3, 5, 9, 10], "2-3, 5 and 9-10"),
        ([1, 3, 5, 7, 9, 11], "1, 3, 5, 7, 9 and 11"),
        ([1, 3, 5, 7, 9, 11, 13, 14], "1, 3, 5, 7, 9, 11 and 2 more"),
    ],
)
def test_runs_of_numbers_are_drawn_together(numbers: list[int], said: str) -> None:
    assert spans(numbers) == said

"""Errors that a user meets have one root and readable messages."""

import pytest

import fedefm.errors as errors
from fedefm.errors import FedEFMError, all_problems


def test_every_error_is_the_users_to_mend() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, Exception)]
    assert len(kinds) > 8
    assert all(issubclass(kind, FedEFMError) and kind.__doc__ for kind in kinds)


def test_kinds_of_errors_can_be_told_apart() -> None:
    assert issubclass(errors.QuorumLost, errors.ProtocolError)
    assert issubclass(errors.MessageRejected, errors.ProtocolError)
    assert issubclass(errors.BudgetExhausted, errors.PrivacyError)
    assert not issubclass(errors.ConfigError, errors.DataError)


@pytest.mark.parametrize("count", [2, 5, 20])
def test_many_problems_are_one_message_with_a_line_each(count: int) -> None:
    problems = [f"row {k} is wrong" for k in range(count)]
    text = all_problems("manifest m.csv", problems)
    assert text.splitlines() == [
        f"manifest m.csv has {count} problems:",
        *(f"  - {problem}" for problem in problems),
    ]


def test_one_problem_is_one_sentence() -> None:
    assert all_problems("manifest m.csv", ["row 1 is wrong"]) == "manifest m.csv: row 1 is wrong"


def test_too_many_problems_are_counted() -> None:
    lines = all_problems("it", [str(k) for k in range(50)], limit=3).splitlines()
    assert lines == ["it has 50 problems:", "  - 0", "  - 1", "  - 2", "  - ... and 47 more"]

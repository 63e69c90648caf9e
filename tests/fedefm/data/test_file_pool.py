import os

import pytest

from fedefm.data.file_pool import finished


def squared(task: int) -> int:
    return task * task


def crashing(task: int) -> int:
    if task in (3, 7):
        os.abort()
    return task * task


def failing(task: int) -> int:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("processes", [1, 2])
def test_every_task_is_done_once(processes: int) -> None:
    results = finished(squared, range(20), processes, lambda task: -1)
    assert sorted(results) == [n * n for n in range(20)]


def test_a_crash_costs_no_task_but_its_own() -> None:
    results = list(finished(crashing, range(12), 2, lambda task: -task))
    assert sorted(results) == sorted([n * n for n in range(12) if n not in (3, 7)] + [-3, -7])


def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(OSError, match="No space"):
        list(finished(failing, range(5), 2, lambda task: -1))

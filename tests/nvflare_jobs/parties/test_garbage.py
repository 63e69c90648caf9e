"""A job's own garbage goes, however much the libraries hold."""

import subprocess
import sys

import pytest

LONG_ONES, AT_ONCE, SHORT_ONES = 400, 20, 20
CODE = f"""
import gc, sys, weakref
import nvflare.apis.impl.controller, torch
from nvflare_jobs.parties.garbage import look_past_libraries
class Transfer:  # as FLARE's: a cycle, with some objects in it
    def __init__(self):
        self.future = [self, *([] for _ in range(60))]
gc.collect()
for _ in range(int(sys.argv[1])):
    look_past_libraries()
there, going_on = weakref.WeakSet(), []
for _ in range({LONG_ONES}):
    for _ in range({SHORT_ONES}):
        Transfer()
    going_on = [*going_on[-{AT_ONCE}:], Transfer()]  # these get old before they end
    there.add(going_on[-1])
print(len(there))
"""


def transfers_in_memory(calls: int) -> int:
    command = [sys.executable, "-c", CODE, str(calls)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("calls", [1, 2])
def test_transfers_that_are_over_do_not_pile_up(calls: int) -> None:
    assert transfers_in_memory(calls) < LONG_ONES / 2


def test_else_they_would_all_be_there_for_long() -> None:
    assert transfers_in_memory(0) == LONG_ONES

"""Which versions of the toolkit work together: those whose first two numbers are the same.

The third number stands for mended mistakes. What sites tell each other, how a run goes and what is
kept of it change with the first two only, so sites may install a patch when it suits them.
"""

import re

_NUMBERS = re.compile(r"(\d+)\.(\d+)(?!\d)")


def release(version: str) -> str:
    """The first two numbers of ``version``, such as 0.1 of 0.1.3; empty where it has none."""
    found = _NUMBERS.match(version)
    return "" if found is None else ".".join(found.groups())


def work_together(one: str, other: str) -> bool:
    """Whether two versions are of one release."""
    return release(one) == release(other) != ""

"""A patch works with its release, and nothing else does."""

import pytest

from fedefm import __version__
from fedefm.versions import release, work_together


@pytest.mark.parametrize(
    ("one", "other"), [("0.1.0", "0.1.7"), ("2.9.0", "2.9"), ("1.4.0", "1.4.1rc1")]
)
def test_versions_of_one_release_work_together(one, other):
    assert work_together(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0.1.0", "0.2.0"),
        ("0.1.0", "1.1.0"),
        ("0.1.0", "0.10.0"),
        ("0.1.0", ""),
        ("", ""),
        ("x", "x"),
    ],
)
def test_others_do_not(one, other):
    assert not work_together(one, other)


def test_the_installed_version_has_a_release():
    assert __version__.startswith(f"{release(__version__)}.")

"""The names that the command line shows are those that there are."""

from fedefm.data.choices import DOMAIN_NAMES, LAYOUT_NAMES
from fedefm.data.layouts import LAYOUTS
from fedefm.data.xray_domains import DOMAINS


def test_every_layout_is_shown_and_none_that_is_not_known() -> None:
    assert tuple(LAYOUTS) == LAYOUT_NAMES


def test_every_domain_is_shown_and_none_that_is_not_known() -> None:
    assert tuple(DOMAINS) == DOMAIN_NAMES

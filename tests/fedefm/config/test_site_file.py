"""Site files: what a hospital says of its data, and what it allows."""

from pathlib import Path
from typing import Any

import pytest

from fedefm.config import SiteConfig, parse, read_site
from fedefm.errors import ConfigError


def test_a_site_file_says_what_a_dataset_is_and_what_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "fedefm_site.yaml"
    path.write_text("datasets: {pretraining: {manifest: manifest.csv}}\npolicy: {min_cohort: 3}\n")
    site = read_site(path)
    assert site.datasets["pretraining"].manifest == Path("manifest.csv")
    assert site.datasets["pretraining"].unit == "patient"
    assert site.policy.min_cohort == 3
    assert site.policy.require_encryption is True


def test_a_dataset_may_say_in_which_scan_mode_all_of_it_is() -> None:
    entry = {"manifest": "m.csv"}
    assert parse({"datasets": {"x": entry}}, SiteConfig, "s").datasets["x"].scan_mode is None
    parse({"datasets": {"x": {**entry, "scan_mode": "convex"}}}, SiteConfig, "site file")
    with pytest.raises(ConfigError, match=r"scan_mode = 'curved': .*'linear' or 'convex'"):
        parse({"datasets": {"x": {**entry, "scan_mode": "curved"}}}, SiteConfig, "site file")


def test_a_site_file_needs_datasets_and_knows_its_own_keys_only() -> None:
    with pytest.raises(ConfigError) as refused:
        parse({"epsilon_cap": 3, "policy": {"delta": 1.0}}, SiteConfig, "site file")
    assert "has 3 problems" in str(refused.value)
    assert "datasets is missing" in str(refused.value)
    assert "epsilon_cap is not a known setting" in str(refused.value)
    assert "policy.delta = 1.0" in str(refused.value)


def counted(first: dict[str, Any], second: dict[str, Any], **settings: Any) -> SiteConfig:
    """A site with a ledger, and datasets "chest" and "heart"."""
    data = {"datasets": {"chest": first, "heart": second}, "ledger": "l.sqlite", **settings}
    return parse(data, SiteConfig, "site file")


TWO_BUDGETS = [
    ({"manifest": "a.csv"}, {"manifest": "a.csv"}),
    ({"manifest": "a.csv", "budget": "b"}, {"manifest": "./a.csv"}),
    ({"manifest": "a.csv", "budget": "b"}, {"manifest": "x/../a.csv", "budget": "c"}),
]
TWO_UNITS = [
    ({"manifest": "a.csv", "budget": "b"}, {"manifest": "c.csv", "budget": "b", "unit": "image"}),
    ({"manifest": "a.csv"}, {"manifest": "c.csv", "budget": "chest", "unit": "image"}),
]


@pytest.mark.parametrize(("first", "second"), TWO_BUDGETS)
def test_the_same_images_under_two_budgets_are_refused(first: Any, second: Any) -> None:
    words = r"'chest' and 'heart' hold the images of a\.csv .* give them one `budget`"
    with pytest.raises(ConfigError, match=words):
        counted(first, second)


@pytest.mark.parametrize(("first", "second"), TWO_UNITS)
def test_one_budget_counted_by_two_units_is_refused(first: Any, second: Any) -> None:
    words = r"'chest' and 'heart' share the budget '(b|chest)' .* give them one `unit`"
    with pytest.raises(ConfigError, match=words):
        counted(first, second)


@pytest.mark.parametrize(("first", "second"), [*TWO_BUDGETS, *TWO_UNITS])
def test_without_a_ledger_nothing_can_be_counted_twice(first: Any, second: Any) -> None:
    assert set(counted(first, second, ledger=None).datasets) == {"chest", "heart"}


@pytest.mark.parametrize("unit", ["patient", "image"])
def test_datasets_that_share_budget_and_unit_or_nothing_are_taken(unit: str) -> None:
    shared = {"manifest": "a.csv", "budget": "b", "unit": unit}
    assert len(counted(shared, shared).datasets) == 2
    assert len(counted(shared, {"manifest": "c.csv"}).datasets) == 2

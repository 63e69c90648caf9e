"""A site decides what it tells of itself, whatever a job says."""

from typing import Any

import pytest

from fedefm.config import PolicyConfig, RunConfig
from fedefm.errors import ConfigError
from fedefm.train.exchange import RoundStats
from fedefm.train.measure import ACCURACY, measure_nothing
from fedefm.train.simulate import Outcome
from nvflare_jobs.parties.answers import MOST_COMPLAINTS
from nvflare_jobs.parties.disclosure import Disclosure
from nvflare_jobs.parties.reasons import LEAST, PLACE

STATS = RoundStats(loss=1.0, similarity={"hosp-b": 0.5})
PRIVATE = {"dp": {"noise_multiplier": 1.0}}


@pytest.fixture
def disclosure_of(tiny_run: RunConfig):
    """``disclosure_of(*allowed, privacy={})``: of a site that allows these metrics."""

    def make(*allowed: str, privacy: dict[str, Any] | None = None) -> Disclosure:
        settings = {**tiny_run.model_dump(), "privacy": privacy or {}}
        run = RunConfig.model_validate(settings)
        return Disclosure(PolicyConfig(allowed_metrics=allowed), run, ACCURACY, LEAST)

    return make


def test_a_report_has_only_what_the_policy_allows(disclosure_of) -> None:
    told = disclosure_of("seconds").report(Outcome(STATS, seconds=2.0))
    assert (told["loss"], told["similarity"], told["seconds"]) == (None, {}, 2.0)
    told = disclosure_of("loss", "similarity").report(Outcome(STATS, seconds=2.0))
    assert (told["loss"], told["similarity"], told["seconds"]) == (1.0, {"hosp-b": 0.5}, 0.0)


def test_a_private_site_reports_nothing_of_its_training(disclosure_of) -> None:
    disclosure = disclosure_of("loss", "similarity", "seconds", privacy=PRIVATE)
    told = disclosure.report(Outcome(STATS, seconds=2.0))
    assert (told["loss"], told["similarity"], told["seconds"]) == (None, {}, 0.0)


def test_accuracies_need_both_of_their_metrics(disclosure_of) -> None:
    for allowed in (("accuracy",), ("images",)):
        disclosure = disclosure_of(*allowed)
        assert disclosure.accuracies({"own": None}, {"validation": None}) == {}
        assert disclosure.accuracies_in_sums({}) is measure_nothing
    assert disclosure_of("accuracy", "images").accuracies_in_sums({}) is not measure_nothing


def test_into_a_sum_goes_what_the_policy_allows_and_privacy_permits(disclosure_of) -> None:
    assert disclosure_of("loss").in_sums(STATS) == RoundStats(loss=1.0)
    private = disclosure_of("loss", "similarity", privacy=PRIVATE)
    assert private.in_sums(STATS) == RoundStats()
    assert private.in_sums(None) is None


def test_an_error_is_the_reason_and_names_no_place(disclosure_of) -> None:
    disclosure = disclosure_of()
    assert disclosure.report(Outcome(), "away")["reason"] == "away"
    told = disclosure.report(Outcome(error=ConfigError("/data/wards is full")))
    assert told["reason"] == f"ConfigError: {PLACE}"
    assert disclosure.complaints(["/data/wards is full", "too late"]) == [PLACE, "too late"]
    assert len(disclosure.complaints(["too late"] * 1000)) == MOST_COMPLAINTS + 1

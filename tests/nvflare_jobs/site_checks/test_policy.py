"""A policy in words, and what in it cannot be meant so."""

import pytest

from fedefm.config import SiteConfig
from nvflare_jobs.parties.answers import PARTS
from nvflare_jobs.site_checks.policy import METRICS, check_policy

ENTRY = {"manifest": "manifest.csv", "patients": 1000}


def look(ledger: str | None = "ledger.sqlite", **policy: object):
    settings = {"datasets": {"pretraining": ENTRY}, "ledger": ledger, "policy": policy}
    first, *others = check_policy(SiteConfig.model_validate(settings))
    return first, others


def test_a_strict_policy_has_nothing_against_it():
    first, others = look(require_dp=True, epsilon_cap=8.0, delta=1e-4)
    assert first.said.startswith("private runs up to epsilon 8 at delta 0.0001 over all of them")
    assert others == []


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"ledger": None, "epsilon_cap": 1.0}, "epsilon_cap is set and there is no ledger"),
        ({"ledger": None, "require_dp": True}, "require_dp is set and there is no ledger"),
        ({"epsilon_cap": 1.0, "delta": 0.01}, "above one over the 1,000 patients"),
    ],
)
def test_what_refuses_every_run_is_a_problem(policy, said):
    _, (found,) = look(**policy)
    assert found.verdict == "problem"
    assert said in found.said
    assert found.fix


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"require_dp": True}, "no epsilon_cap"),
        ({"ledger": None}, "runs without differential privacy are allowed"),
        ({"epsilon_cap": 1.0, "require_encryption": False}, "may pass the server readable"),
        ({"epsilon_cap": 1.0, "allowed_metrics": ["los"]}, "names los, which no site tells"),
        ({"epsilon_cap": 1.0, "colluders": 2}, "not below min_cohort 2"),
    ],
)
def test_what_may_not_be_meant_is_a_warning(policy, said):
    _, (found,) = look(**policy)
    assert found.verdict == "warning"
    assert said in found.said
    assert found.fix


@pytest.mark.parametrize(
    ("entry", "counted", "delta", "said"),
    [
        ({}, 84, 0.5, "the 84 patients"),
        ({"patients": 100}, 84, 0.011, "the 100 patients"),  # what is published is what counts
        ({"patients": 300, "unit": "image"}, 900, 0.002, "the 900 images"),
        ({}, 84, 0.011, None),
        ({}, 0, 0.5, None),
    ],
)
def test_a_delta_above_one_over_those_that_were_counted_is_a_problem(entry, counted, delta, said):
    settings = SiteConfig.model_validate(
        {
            "datasets": {"pretraining": {"manifest": "manifest.csv", **entry}},
            "ledger": "ledger.sqlite",
            "policy": {"epsilon_cap": 8.0, "delta": delta},
        }
    )
    found = check_policy(settings, {"pretraining": counted})[1:]
    assert [each.verdict for each in found] == (["problem"] if said else [])
    assert said is None or said in found[0].said


def test_the_delta_that_is_proposed_is_small_enough():
    entry = {"manifest": "manifest.csv"}
    settings = {"datasets": {"pretraining": entry}, "ledger": "x", "policy": {"delta": 0.5}}
    found = check_policy(SiteConfig.model_validate(settings), {"pretraining": 84})
    fixes = [each.fix for each in found if "delta" in each.fix]
    assert fixes == ["set policy.delta to at most 0.011"]  # 1/84 is 0.0119


def test_without_a_cap_a_large_delta_is_a_warning_since_runs_may_ask_for_a_smaller_one():
    _, others = look(delta=0.01)
    (found,) = [each for each in others if "delta" in each.said]
    assert found.verdict == "warning"


def test_all_metrics_that_an_answer_can_need_are_known():
    assert set().union(*(part.metrics for part in PARTS.values())) <= METRICS

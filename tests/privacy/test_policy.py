"""The stricter of a run file and a site file wins, and what cannot be kept is refused in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.config import RunConfig, SiteConfig
from fedefm.errors import PolicyRefused
from privacy.ledger import Budget, Dataset
from privacy.policy import promise, refusals, rounded_down

DP = {"epsilon": 3.0, "delta": 1e-4}


def site_of(policy=None, entry=None, **fields):
    dataset = {"manifest": "m.csv", **(entry or {})}
    settings = {"datasets": {"pretraining": dataset}, "policy": policy or {}, "ledger": "l.sqlite"}
    return SiteConfig.model_validate({**settings, **fields})


def run_of(**dp):
    return RunConfig.model_validate({"privacy": {"dp": {**DP, **dp}}})


def test_a_site_that_keeps_a_ledger_and_agrees_refuses_nothing():
    assert refusals(site_of(), run_of(), 100) == []


@pytest.mark.parametrize(
    ("site", "run", "patients", "words"),
    [
        (site_of(ledger=None), run_of(), 100, ["no epsilon ledger", "`ledger: ledger.sqlite`"]),
        (site_of(entry={"unit": "image"}), run_of(), 100, ["'pretraining'", "'image'"]),
        (site_of(), run_of(unit="image"), 100, ["'patient'", "set it to 'patient'"]),
        (site_of({"delta": 0.5}), run_of(delta=0.02), 100, ["0.02", "privacy.dp.delta", "0.01"]),
        (site_of({"delta": 0.02}), run_of(delta=0.5), 100, ["0.02", "site file", "0.01"]),
        (site_of(), run_of(), 0, ["no patients to train on"]),
        (site_of(entry={"patients": 80}), run_of(), 100, ["80 patients", "correct `patients`"]),
        (site_of({"epsilon_cap": 2.0}), run_of(delta=1e-5), 100, ["epsilon 3", "cap of 2"]),
        (
            site_of({"epsilon_cap": 9.0, "delta": 0.5}),
            run_of(delta=1e-5),
            100,
            ["cap is counted at delta 0.5", "0.01"],
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_value_and_the_way_out(site, run, patients, words):
    (sentence,) = refusals(site, run, patients)
    for word in words:
        assert word in sentence
    with pytest.raises(PolicyRefused, match="site 'north' refuses this run"):
        promise(site, run, "north", patients)


def test_everything_is_told_at_once():
    site = site_of(ledger=None, entry={"unit": "image"})
    with pytest.raises(PolicyRefused, match="3 problems") as refused:
        promise(site, run_of(delta=0.5), "north", 0)
    assert "ledger" in str(refused.value)


def test_how_many_patients_there_are_beyond_those_published_is_not_told():
    (sentence,) = refusals(site_of(entry={"patients": 80}), run_of(), 8317)
    assert "8317" not in sentence


@given(
    st.floats(1e-9, 1e-3),
    st.floats(1e-9, 1e-3),
    st.sampled_from(["add_or_remove_one", "replace_one"]),
    st.sampled_from(["add_or_remove_one", "replace_one"]),
)
def test_the_stricter_of_both_holds_for_the_run_and_the_sites_own_for_its_account(
    ours, theirs, our_adjacency, their_adjacency
):
    site = site_of({"delta": ours, "adjacency": our_adjacency, "epsilon_cap": 50.0})
    found = promise(site, run_of(delta=theirs, adjacency=their_adjacency), "north", 100)
    assert found.delta == min(ours, theirs)
    assert (found.adjacency == "replace_one") == ("replace_one" in (our_adjacency, their_adjacency))
    assert found.budget == Budget(50.0, ours, our_adjacency)


def test_a_cap_is_compared_by_the_ledger_where_the_epsilons_mean_different_things():
    site = site_of({"epsilon_cap": 2.0, "delta": 1e-3})
    assert refusals(site, run_of(delta=1e-8), 100) == []


def test_the_published_number_of_patients_is_the_one_that_counts():
    found = promise(site_of(entry={"patients": 120}), run_of(), "north", 100)
    assert found.units == 120
    assert promise(site_of(), run_of(), "north", 100).units == 100
    images = site_of(entry={"patients": 120, "unit": "image"})
    assert promise(images, run_of(unit="image"), "north", 500).units == 500


def test_datasets_of_the_same_patients_share_a_budget():
    site = site_of(entry={"budget": "everybody"})
    assert promise(site, run_of(), "north", 100).dataset == Dataset("everybody", "patient")
    assert promise(site_of(), run_of(), "north", 100).dataset == Dataset("pretraining", "patient")


def sharing(**dp):
    return RunConfig.model_validate(
        {
            "federation": {"scenario": "client_server", "algorithm": "fedavg", "local_steps": 1},
            "training": {"momentum": 0},
            "privacy": {
                "dp": {"noise_multiplier": 1.0, "delta": 1e-4, **dp},
                "secagg": {"noise_shares": {"honest": 4}},
            },
        }
    )


def test_a_site_that_did_not_allow_it_rests_on_nobody_else_s_noise():
    (sentence,) = refusals(site_of(), sharing(), 100)
    assert "noise of other sites, of which 3 must be honest" in sentence
    assert "policy.noise_shares" in sentence
    assert refusals(site_of({"noise_shares": True}), sharing(), 100) == []


def test_who_has_too_few_patients_for_an_equal_step_refuses():
    (sentence,) = refusals(site_of({"noise_shares": True}), sharing(patients_per_step=101), 100)
    assert "expects 101 patients" in sentence
    assert "to at most 100" in sentence
    assert refusals(site_of({"noise_shares": True}), sharing(patients_per_step=100), 100) == []


def test_a_run_whose_sites_add_all_their_noise_needs_no_such_word():
    assert refusals(site_of(), run_of(patients_per_step=1000), 100) == []


@given(patients=st.integers(min_value=1, max_value=10**7))
def test_a_delta_is_told_so_that_it_can_be_taken_as_told(patients: int) -> None:
    told = float(rounded_down(1 / patients))
    assert 0.85 / patients < told <= 1 / patients

"""Where noise was made together, every page says on whom its epsilons rest."""

from pathlib import Path
from typing import Any

from fedefm.finetune.card import guarantee
from fedefm.report.protection import findings
from fedefm.report.record import read_record
from fedefm.report.sentences import planned_spend
from fedefm.report.shared_noise import trust_needed

SPENT: dict[str, Any] = {
    "epsilon": 7.991, "delta": 1e-5, "unit": "patient", "adjacency": "add_or_remove_one",
    "accountant": "PLD (pessimistic)", "noise_multiplier": 1.281, "sampling_rate": 0.25,
    "steps": 120, "units": 40, "batch_cap": 26,
}  # fmt: skip
SHARED: dict[str, Any] = SPENT | {"noise_shares": 4, "epsilon_own_noise": 21.3449}


def test_it_names_how_many_must_be_honest_and_what_is_left_without_them() -> None:
    text = trust_needed({"Aachen": SHARED, "Bern": SHARED | {"epsilon_own_noise": None}})
    assert "at least 4 sites in each sum" in text
    assert "sqrt(k/4)" in text
    assert "0.71 with 2" in text
    assert "Aachen 21.35, Bern without bound" in text
    assert "guarantee" not in text


def test_a_site_s_own_noise_rests_on_nobody() -> None:
    assert trust_needed({"Aachen": SPENT, "Bern": None}) == ""
    assert trust_needed({}) == ""


def test_the_report_shows_it_among_what_is_not_protected(example_run: Any, tmp_path: Path) -> None:
    run = example_run(sites=2, rounds=1).tell()
    for site in run.sites:
        run.add("privacy_planned", site=site, **SHARED)
    found = {one.title: one for one in findings(read_record(run.write(tmp_path)))}
    rests = found["The noise rests on other sites"]
    assert not rests.protected
    assert "Aachen 21.35, Bern 21.35" in rests.text


def test_the_plan_says_who_makes_the_noise() -> None:
    assert "made by at least 4 honest sites together" in planned_spend({"site": "Bern", **SHARED})
    assert "honest" not in planned_spend({"site": "Bern", **SPENT})


def test_the_model_card_says_on_whom_its_epsilons_rest() -> None:
    card = guarantee({"Aachen": SPENT, "Bern": SHARED})
    assert "rest on the sites together" in card
    assert "at least 4 sites in each sum" in card
    assert "honest" not in guarantee({"Aachen": SPENT})

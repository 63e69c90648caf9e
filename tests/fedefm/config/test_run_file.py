"""Run files: what they mean, which settings go together, and every mistake named at once."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedefm.config import NoiseSharesConfig, RunConfig, dump, parse, read_run
from fedefm.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[3]
FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}


def refusal(data: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(data, RunConfig, "run file r.yaml")
    return str(refused.value)


def test_an_empty_run_file_section_means_the_defaults() -> None:
    run = parse({}, RunConfig, "run file")
    assert run == RunConfig()
    assert (run.federation.scenario, run.federation.algorithm) == ("decentralized", "fedefm")
    assert (run.federation.update, run.distill.weights) == ("swap", "emd")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "examples").glob("*.yaml")), ids=str)
def test_the_examples_are_run_files(path: Path) -> None:
    assert read_run(path).federation.rounds > 0


@given(
    rounds=st.integers(1, 10**5),
    rate=st.floats(1e-8, 10),
    classes=st.lists(st.text(min_size=1, max_size=8), max_size=3),
    pool=st.none() | st.integers(1, 14),
    schedule=st.sampled_from(["matchings", "random_matchings", "hypercube"]),
)
def test_what_is_dumped_reads_back(
    rounds: int, rate: float, classes: list[str], pool: int | None, schedule: str
) -> None:
    data = {
        "model": {"classes": classes},
        "training": {"learning_rate": rate},
        "federation": {"rounds": rounds, "schedule": schedule},
        "distill": {"pool": pool},
    }
    run = parse(data, RunConfig, "run file")
    assert parse(yaml.safe_load(dump(run)), RunConfig, "run file") == run


def test_a_run_file_cannot_be_changed_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().federation.rounds = 3  # type: ignore[misc]


def test_all_mistakes_are_named_at_once_and_each_by_its_place() -> None:
    sentence = refusal(
        {
            "seed": -1,
            "nmae": "x",
            "model": {"image_size": 3, "head": "loose"},
            "training": {"learning_rate": 0, "momentum": 1.0, "optimiser": "adam"},
            "federation": {"rounds": 0, "quorum": 2, "deadline_s": -5},
            "distill": {"temperature": 0, "pool": 0},
            "finetune": {"steps": 3},
        }
    )
    assert sentence.startswith("run file r.yaml has 13 problems:")
    for place in (
        "seed = -1: ",
        "nmae is not a known setting",
        "model.image_size = 3: ",
        "model.head = 'loose': ",
        "training.learning_rate = 0: ",
        "training.momentum = 1.0: ",
        "training.optimiser is not a known setting",
        "federation.rounds = 0: ",
        "federation.quorum = 2: ",
        "federation.deadline_s = -5: ",
        "distill.temperature = 0: ",
        "distill.pool = 0: ",
        "finetune is not a known setting",
    ):
        assert f"\n  - {place}" in sentence
    assert "pydantic" not in sentence


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"federation": {"rounds": "many"}}, "federation.rounds = 'many': input should be"),
        ({"federation": {"rounds": 2.5}}, "federation.rounds = 2.5: "),
        ({"federation": None}, "federation = None: must be a mapping"),
        ({"federation": []}, "federation = []: must be a mapping"),
        ({"model": {"classes": "angio"}}, "model.classes = 'angio': "),
        ({"model": {"classes": [1]}}, "model.classes.0 = 1: "),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate = nan: "),
        ({"training": {"learning_rate": float("inf")}}, "training.learning_rate = inf: "),
        ({"federation": {"rounds": True}}, "federation.rounds: True (yes, no, on, off) is no"),
        ({"training": {"momentum": False}}, "training.momentum: False (yes, no, on, off) is no"),
        ({"training": {"batch_size": 10**9}}, "training.batch_size = 1000000000: "),
        ({"name": "../elsewhere"}, "name = '../elsewhere': "),
        ({"name": ".."}, "name = '..': "),
        ({"name": "a/b"}, "name = 'a/b': "),
        ({"name": "a\n"}, "name = 'a\\n': "),
        ({"name": ""}, "name = '': "),
    ],
)
def test_an_impossible_value_is_named_with_its_place(data: dict[str, Any], words: str) -> None:
    sentence = refusal(data)
    assert sentence.startswith(f"run file r.yaml: {words}")
    assert "\n" not in sentence


@pytest.mark.parametrize("schedule", ["neighbors", "one_peer_exponential"])
def test_swap_needs_pairs(schedule: str) -> None:
    sentence = refusal({"federation": {"schedule": schedule}})
    assert f"'swap' needs one partner a round, and schedule '{schedule}'" in sentence
    assert "use matchings, random_matchings, hypercube or grid, or update 'mixed'" in sentence
    for update in ("mixed", "literal"):
        parse(
            {"federation": {"schedule": schedule, "update": update}, "distill": {"beta": 0.5}},
            RunConfig,
            "run file",
        )


@pytest.mark.parametrize(
    ("scenario", "algorithm", "fitting"),
    [
        ("decentralized", "fedavg", "fedefm or gossip"),
        ("decentralized", "none", "fedefm or gossip"),
        ("client_server", "fedefm", "fedavg or stagewise"),
        ("local", "gossip", "none"),
        ("centralized", "fedavg", "none"),
    ],
)
def test_an_algorithm_must_fit_its_scenario(scenario: str, algorithm: str, fitting: str) -> None:
    sentence = refusal({"federation": {"scenario": scenario, "algorithm": algorithm}})
    assert f"algorithm '{algorithm}' does not run in scenario '{scenario}'" in sentence
    assert sentence.endswith(f"use {fitting}")


def test_the_literal_update_needs_teachers() -> None:
    sentence = refusal({"federation": {"update": "literal"}})
    assert "distill.beta is 0; set it above 0" in sentence
    gossip = {"scenario": "decentralized", "algorithm": "gossip", "update": "literal"}
    parse({"federation": gossip}, RunConfig, "run file")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "privacy.secagg: True (yes, no, on, off) is no"),
        (1.0, "privacy.secagg = 1.0: must be a mapping"),
        ({"epsilon": 3}, "privacy.secagg.epsilon is not a known setting"),
        ({"bound": 0}, "privacy.secagg.bound = 0: "),
        ({"value_bits": 31}, "privacy.secagg.value_bits = 31: "),
    ],
)
def test_secure_sums_with_settings_that_do_not_exist_are_refused(value: Any, words: str) -> None:
    assert words in refusal({"federation": GRID, "privacy": {"secagg": value}})


GRID = {"schedule": "grid"}
SECURE = {"secagg": {}}


@pytest.mark.parametrize(
    ("federation", "words"),
    [
        ({"schedule": "matchings"}, "the mean of two, which schedule 'matchings' makes; set"),
        ({"algorithm": "gossip", "schedule": "hypercube"}, "the mean of two, which schedule"),
        ({"scenario": "local", "algorithm": "none"}, "scenario 'local' has none; leave it out"),
        ({"scenario": "centralized", "algorithm": "none"}, "'centralized' has none; leave it out"),
    ],
)
def test_secure_sums_that_would_hide_nobody_are_refused(
    federation: dict[str, Any], words: str
) -> None:
    assert words in refusal({"federation": federation, "privacy": SECURE})
    parse({"federation": federation}, RunConfig, "run file")


@pytest.mark.parametrize(
    "federation",
    [
        GRID,
        {"algorithm": "gossip", **GRID},
        {"algorithm": "gossip", "schedule": "neighbors"},
        {"update": "mixed", "schedule": "neighbors", "expert": "aggregated"},
        {"scenario": "client_server", "algorithm": "fedavg"},
    ],
)
def test_secure_sums_go_with_cohorts(federation: dict[str, Any]) -> None:
    run = parse({"federation": federation, "privacy": SECURE}, RunConfig, "run file")
    assert run.privacy.secagg is not None


SHARED_NOISE: dict[str, Any] = {
    "federation": {"scenario": "client_server", "algorithm": "fedavg", "local_steps": 1},
    "training": {"momentum": 0},
    "privacy": {
        "dp": {"noise_multiplier": 1.0},
        "secagg": {"noise_shares": {"honest": 4}},
    },
}


def test_noise_is_shared_where_only_sums_of_single_steps_leave() -> None:
    run = parse(SHARED_NOISE, RunConfig, "run file")
    assert run.privacy.secagg is not None
    assert run.privacy.secagg.noise_shares == NoiseSharesConfig(honest=4)


@pytest.mark.parametrize(
    ("section", "change", "words"),
    [
        ("federation", {"local_steps": 2}, "local_steps is 2; set it to 1"),
        ("training", {"momentum": 0.9}, "training.momentum is 0.9; set it to 0"),
        (
            "training",
            {"optimizer": "adamw", "momentum": 0.9},
            "gather moments from, and training.optimizer is 'adamw'; set it to 'sgd'",
        ),
        ("privacy", {"dp": None}, "privacy.dp, which is not set"),
        ("privacy", {"dp": {"epsilon": 3}}, "set privacy.dp.noise_multiplier, and see with"),
        (
            "privacy",
            {"secagg": {"noise_shares": {"honest": 4}, "compact": True}},
            "leave out privacy.secagg.compact",
        ),
        (
            "privacy",
            {"secagg": {"noise_shares": {"honest": 4}, "value_bits": 24}},
            "leave out privacy.secagg.compact",
        ),
        ("privacy", {"secagg": {"noise_shares": {"honest": 1}}}, "honest = 1: "),
        ("privacy", {"secagg": {"noise_shares": {}}}, "noise_shares.honest is missing"),
        (
            "federation",
            {"scenario": "decentralized", "algorithm": "gossip", "schedule": "grid"},
            "federation.algorithm is 'gossip'; let each site add all its noise",
        ),
    ],
)
def test_noise_is_not_shared_where_more_than_that_leaves(
    section: str, change: dict[str, Any], words: str
) -> None:
    settings = SHARED_NOISE | {section: SHARED_NOISE[section] | change}
    assert words in refusal(settings)


@pytest.mark.parametrize(
    ("federation", "words"),
    [
        ({"update": "mixed", "schedule": "grid"}, "schedule 'grid' is for means over cohorts"),
        ({"expert": "aggregated"}, "only update 'mixed' has a neighborhood of them"),
        (
            {"wire": "bfloat16", "scenario": "client_server", "algorithm": "fedavg"},
            "all must hold the very same model; set wire to 'float32'",
        ),
        ({"update": "mixed", "expert": "aggregated"}, "set schedule to 'neighbors'"),
        (
            {"update": "mixed", "expert": "aggregated", "schedule": "one_peer_exponential"},
            "where a neighborhood has several experts",
        ),
    ],
)
def test_what_needs_another_update_or_schedule_says_so(
    federation: dict[str, Any], words: str
) -> None:
    assert words in refusal({"federation": federation})


@pytest.mark.parametrize("dp", [{}, {"epsilon": 3, "noise_multiplier": 1}])
def test_noise_has_exactly_one_source(dp: Any) -> None:
    assert "one of epsilon and noise_multiplier" in refusal({"privacy": {"dp": dp}})


def test_a_cap_below_the_expected_number_of_patients_is_refused() -> None:
    dp = {"epsilon": 3, "patients_per_step": 32, "max_patients_per_step": 16}
    assert "max_patients_per_step" in refusal({"privacy": {"dp": dp}})


@pytest.mark.parametrize(
    ("federation", "privacy", "words"),
    [
        ({"participation": 0.5}, {}, "has none that asks; leave it out"),
        ({**FEDAVG, "local_epochs": 1}, {"dp": {"epsilon": 8}}, "set federation.local_steps"),
        (
            {**FEDAVG, "local_steps": 1, "participation": 0.5},
            {"dp": {"noise_multiplier": 1}, "secagg": {"noise_shares": {"honest": 3}}},
            "federation.participation is 0.5; leave it out",
        ),
    ],
)
def test_sites_that_rest_and_passes_over_images_go_where_they_mean_something(
    federation: dict[str, Any], privacy: dict[str, Any], words: str
) -> None:
    data = {"federation": federation, "privacy": privacy, "training": {"momentum": 0}}
    assert words in refusal(data)

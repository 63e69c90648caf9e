"""Settings of training: which go together, and what to do about those that do not."""

from typing import Any

import pytest

from fedefm.config import FinetuneConfig, RunConfig, TrainingConfig, parse
from fedefm.errors import ConfigError


def refusal(data: dict[str, Any], section: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(data, section, "the settings")
    return str(refused.value)


IGNORED = [
    ({"weight_decay": 0.05}, "weight_decay is of optimizer 'adamw', and optimizer is 'sgd'; leave"),
    ({"optimizer": "adamw", "momentum": 0.5}, "momentum is of optimizer 'sgd', and optimizer is"),
    ({"warmup_rounds": 3}, "warmup_rounds is of schedule 'cosine', and schedule is 'drop'; leave"),
    ({"schedule": "cosine", "decay_at": 0.5}, "decay_at is of schedule 'drop', and schedule is"),
    ({"schedule": "cosine", "decay_to": 0.5}, "or set schedule to 'drop'"),
]


@pytest.mark.parametrize(("data", "words"), IGNORED)
def test_a_setting_without_effect_is_refused_with_what_it_belongs_to(
    data: dict[str, Any], words: str
) -> None:
    assert words in refusal(data, TrainingConfig)


def test_all_settings_without_effect_are_named_at_once() -> None:
    said = refusal({"weight_decay": 0.1, "warmup_rounds": 2}, TrainingConfig)
    assert "weight_decay" in said
    assert "warmup_rounds" in said


@pytest.mark.parametrize(
    "data",
    [
        {"optimizer": "adamw", "weight_decay": 0.05, "schedule": "cosine", "warmup_rounds": 4},
        {"optimizer": "adamw"},
        {"momentum": 0, "decay_at": 0.5, "decay_to": 0.1},
        {"schedule": "cosine"},
    ],
)
def test_what_goes_together_reads_back(data: dict[str, Any]) -> None:
    training = parse(data, TrainingConfig, "the settings")
    assert parse(training.model_dump(), TrainingConfig, "the settings") == training


@pytest.mark.parametrize("warmup", [5, 6])
def test_a_warm_up_leaves_rounds_to_train_in(warmup: int) -> None:
    training = {"schedule": "cosine", "warmup_rounds": warmup}
    said = refusal({"training": training, "federation": {"rounds": 5}}, RunConfig)
    assert f"training.warmup_rounds {warmup} leave none of the 5 rounds" in said
    training["warmup_rounds"] = 4
    parse({"training": training, "federation": {"rounds": 5}}, RunConfig, "run file")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"weight_decay": 0.05}, "the settings: weight_decay is of optimizer 'adamw'"),
        ({"warmup_steps": 3}, "warmup_steps is of schedule 'cosine', and schedule is 'poly'"),
        ({"schedule": "cosine", "warmup_steps": 9, "steps": 9}, "none of the 9 steps"),
        ({"layer_decay": 0}, "layer_decay = 0: "),
        ({"layer_decay": 1.1}, "layer_decay = 1.1: "),
        ({"drop_path": 1}, "drop_path = 1: "),
        ({"convert": 0.5}, "scan_mode is not set and convert is 0.5; set both"),
        ({"scan_mode": "linear"}, "scan_mode is linear and convert is 0; set both"),
        ({"scan_mode": "linear", "convert": 2}, "convert = 2: "),
    ],
)
def test_settings_of_fine_tuning_that_do_not_go_together_are_refused(
    data: dict[str, Any], words: str
) -> None:
    assert words in refusal(data, FinetuneConfig)

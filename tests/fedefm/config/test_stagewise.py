"""Stages and tasks in a run file: what fits together, and what is refused with a way out."""

import pytest

from fedefm.config import RunConfig, StagewiseConfig, parse
from fedefm.errors import ConfigError

KINDS = {"kind": "classification", "classes": ["a", "b"]}
STAGES = [{"sites": ["x"], "rounds": 2}, {"sites": ["y"], "rounds": 3}]
SOUND = {"stages": STAGES, "tasks": {"x": KINDS, "y": KINDS}}
FEDERATION = {"scenario": "client_server", "algorithm": "stagewise", "rounds": 5}


def test_rounds_are_those_of_the_stages_one_after_the_other():
    stages = parse(SOUND, StagewiseConfig, "stages")
    assert stages.rounds == 5
    assert stages.last_rounds == (1, 4)
    assert [stages.within(k) for k in range(5)] == [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"kind": "classification", "classes": ["a"]}, "needs two classes at least"),
        ({"kind": "segmentation", "classes": ["a"]}, "the background first"),
        ({"kind": "classification", "classes": ["a", "a"]}, "named twice: a"),
        ({"kind": "classification", "classes": ["a", "b"], "lowest": 1}, "has no range"),
        ({"kind": "regression", "classes": ["a", "b"]}, "leave classes out"),
        ({"kind": "regression", "lowest": 3}, "set lowest and highest"),
        ({"kind": "regression", "lowest": 3, "highest": 3}, "is not below"),
        ({"kind": "guessing"}, "kind"),
    ],
)
def test_a_task_that_cannot_be_learned_is_refused(task, told):
    with pytest.raises(ConfigError, match=told):
        parse({**SOUND, "tasks": {"x": task, "y": KINDS}}, StagewiseConfig, "stages")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stages": [{"sites": ["x", "x", "y"]}]}, "stage 1 names 'x' twice"),
        ({"stages": [{"sites": ["x", "y", "z"]}]}, "'z', which has no task"),
        ({"stages": [{"sites": ["x"]}]}, "'y' has a task and is in no stage"),
        ({"stages": []}, "stages"),
        ({"eta": 0}, "eta"),
        ({"curation": {"images": 3}}, "dataset"),
    ],
)
def test_stages_that_cannot_be_are_refused(change, told):
    with pytest.raises(ConfigError, match=told):
        parse({**SOUND, **change}, StagewiseConfig, "stages")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"federation": {**FEDERATION, "rounds": 6}}, "federation.rounds is 6; set it to 5"),
        ({"federation": {**FEDERATION, "participation": 0.5}}, "has none that asks"),
        ({"federation": {**FEDERATION, "algorithm": "fedavg"}}, "leave it out, or set"),
        ({"federation": {**FEDERATION, "wire": "bfloat16"}}, "set wire to 'float32'"),
        ({"masking": {}}, "in a run of its own"),
        ({"training": {"average_decay": 0.9}}, "leave out training.average_decay"),
        ({"training": {"schedule": "cosine", "warmup_rounds": 2}}, "none of the 2 rounds of a"),
        (
            {
                "stagewise": {**SOUND, "curation": {"dataset": "public"}},
                "privacy": {"secagg": {}},
            },
            "no check of secure sums covers",
        ),
        ({"model": {"classes": ["a"]}}, "no use for model.classes"),
        ({"model": {"train_last": 1}}, "no use for model.train_last"),
        ({"stagewise": None}, "set stagewise.stages and stagewise.tasks"),
    ],
)
def test_settings_that_do_not_go_with_stages_are_refused(change, told):
    sound = {"stagewise": SOUND, "federation": FEDERATION}
    parse(sound, RunConfig, "run")
    with pytest.raises(ConfigError, match=told):
        parse({**sound, **change}, RunConfig, "run")


def test_models_are_measured_every_so_often_and_after_each_stage():
    run = parse(
        {"stagewise": SOUND, "federation": {**FEDERATION, "evaluate_every": 3}}, RunConfig, ""
    )
    assert [k for k in range(5) if run.measures_after(k)] == [1, 2, 4]

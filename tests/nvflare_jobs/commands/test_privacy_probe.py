"""``fedefm privacy probe MODEL``."""

import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fedefm.errors import ConfigError, ModelError, PrivacyError
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.foundation import build_foundation
from fedefm.model.segmenter import build_segmenter
from nvflare_jobs.commands import privacy_probe
from privacy.dp.probe import CHECKS

OWN_MODELS = """
from torch import nn

def net(norm):
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, *head)

def batch_norm():
    return net(nn.BatchNorm2d(4))

def group_norm():
    return net(nn.GroupNorm(2, 4))

def pixels():
    return nn.Conv2d(3, 3, 3, padding=1)

def number():
    return 7

def broken():
    raise RuntimeError("no such weights")
"""


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    privacy_probe.register(app)
    return app


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a user's own module, as the current one."""
    (tmp_path / "own_models.py").write_text(OWN_MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_models", raising=False)


def test_says_which_checks_a_backbone_passes(app: typer.Typer) -> None:
    outcome = CliRunner().invoke(app, ["probe", "resnet_micro", "--image-size", "32"])

    assert outcome.exit_code == 0
    assert all(f"passed: {check}" in outcome.stdout for check in CHECKS)
    assert "samples do not see each other" in outcome.stdout


def test_tells_scripts_in_json(app: typer.Typer) -> None:
    arguments = ["probe", "vit_micro", "--image-size", "32", "--masks", "--json"]
    outcome = CliRunner().invoke(app, arguments)

    answer = json.loads(outcome.stdout)
    assert answer == {
        "model": "vit_micro",
        "independent": True,
        "passed": list(CHECKS),
        "refusal": None,
    }


@pytest.mark.parametrize("kind", ["foundation", "segmenter"])
def test_takes_checkpoints_of_both_kinds(app: typer.Typer, tmp_path: Path, kind: str) -> None:
    if kind == "segmenter":
        model = build_segmenter("resnet_micro", 4, 32, seed=3)
    else:
        model = build_foundation("resnet_micro", ["a", "b", "c", "d"], 32, "frozen", seed=3)
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, model.info)

    outcome = CliRunner().invoke(app, ["probe", str(path), "--json"])

    assert json.loads(outcome.stdout)["independent"] is True


def test_takes_a_users_own_model(app: typer.Typer, own: None) -> None:
    outcome = CliRunner().invoke(app, ["probe", "own_models:group_norm", "--channels", "3"])
    assert outcome.exit_code == 0


def test_refuses_batch_norm_and_says_what_to_do(app: typer.Typer, own: None) -> None:
    outcome = CliRunner().invoke(app, ["probe", "own_models:batch_norm", "--channels", "3"])

    assert outcome.exit_code != 0
    assert isinstance(outcome.exception, PrivacyError)
    assert "module '1' (BatchNorm2d)" in str(outcome.exception)
    assert "GroupNorm" in str(outcome.exception)
    assert f"passed: {CHECKS[0]}" in outcome.stdout
    assert CHECKS[1] not in outcome.stdout


def test_a_refusal_is_in_the_json_as_well(app: typer.Typer, own: None) -> None:
    arguments = ["probe", "own_models:batch_norm", "--channels", "3", "--json"]
    outcome = CliRunner().invoke(app, arguments)

    answer = json.loads(outcome.stdout)
    assert outcome.exit_code != 0
    assert answer["independent"] is False
    assert answer["refusal"] == str(outcome.exception)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["no_such_model"], ConfigError, "vit_micro"),
        (["own_models:number"], ConfigError, "not a torch module"),
        (["own_models:broken"], ConfigError, "no such weights"),
        (["own_models:absent"], ConfigError, "absent"),
        (["no_such_module:build"], ConfigError, "no_such_module"),
        (["own_models:pixels", "--channels", "3"], ModelError, "--masks"),
        (["own_models:group_norm"], PrivacyError, "channels"),
        (["vit_micro", "--image-size", "33"], ModelError, "33"),
    ],
)
def test_what_cannot_be_probed_is_said_in_a_sentence(
    app: typer.Typer, own: None, arguments: list[str], error: type, words: str
) -> None:
    outcome = CliRunner().invoke(app, ["probe", *arguments])

    assert isinstance(outcome.exception, error)
    assert words in str(outcome.exception)


def test_help_has_an_example(app: typer.Typer) -> None:
    assert "fedefm privacy probe vit_micro" in CliRunner().invoke(app, ["probe", "--help"]).stdout

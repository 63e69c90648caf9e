"""``fedefm finetune --site ... --epsilon``: the same policy and ledger as of a run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from fedefm.data.scan_mode import random_scan_mode
from fedefm.errors import BudgetExhausted, ConfigError, FedEFMError, ModelError, PolicyRefused
from fedefm.events import read_events
from fedefm.model.segmenter import build_segmenter
from nvflare_jobs.commands import evaluate, finetune
from privacy.accountant import epsilon
from privacy.ledger import Dataset, Ledger

PATIENTS = Dataset("segmentation", "patient")
PRIVATE = ("--epsilon", 6, "--delta", 1e-3, "--patients-per-step", 4)  # the site's delta: 1e-5


@pytest.fixture
def site(tmp_path: Path, masked_images: Path) -> Path:
    """A hospital's folder: images with masks, and the site file."""
    return write_site(tmp_path, masked_images)


def write_site(folder: Path, images: Path, **settings: Any) -> Path:
    entry = {"manifest": str(images / "manifest.csv"), **settings.pop("entry", {})}
    path = folder / "fedefm_site.yaml"
    held = {"datasets": {"segmentation": entry}, "ledger": "ledger.sqlite", **settings}
    path.write_text(yaml.safe_dump(held))
    return path


def tune(site: Path, out: Path, *more: Any, steps: int = 13) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    finetune.register(app)
    evaluate.register(app)
    words = ["finetune", "--site", site, "--dataset", "segmentation", "--out", out]
    words += ["--scratch", "--backbone", "resnet_micro", "--image-size", 32]
    words += ["--classes", "background,catheter", "--steps", steps, *more]
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, FedEFMError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def records(site: Path) -> list[Any]:
    with Ledger.open(site.parent / "ledger.sqlite", site.parent.name, read_only=True) as ledger:
        return ledger.runs(PATIENTS)


def test_the_ledger_and_the_result_agree_and_nothing_measured_leaves(
    site: Path, tmp_path: Path
) -> None:
    printed = tune(site, tmp_path / "out", *PRIVATE)
    assert "spent epsilon 6.00 at delta 1e-05 for each patient" in printed
    assert "kept the weights of step 13" in printed  # the last ones, whatever validation says

    spent = json.loads((tmp_path / "out" / "result.json").read_text())["report"]["privacy"]
    (record,) = records(site)
    assert sum(record.spent.values()) == spent["steps"] == 13
    assert spent["epsilon"] == epsilon(record.spent, 1e-5) <= 6
    assert (record.lost, record.is_open) == (0, False)

    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "Trained with differential privacy" in card
    assert "stay with the site" in card
    assert "Not protected" not in card
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as model:
        travels = json.dumps(model.metadata())
    for score in ("mean Dice", "mIoU", "clDice", "false alarms"):
        assert score not in card
        assert score not in travels
    assert "mean_dice" in (tmp_path / "out" / "result.json").read_text()  # at the site, it is known
    steps = list(read_events(tmp_path / "out" / "events.jsonl"))
    assert {e["loss"] for e in steps if e["event"] == "finetune_step"} == {None}
    assert [e["event"] for e in steps if e["event"].startswith("privacy")] == [
        "privacy_planned",
        "privacy_spent",
    ]


def test_images_are_converted_privately_by_the_mode_that_the_site_says(
    tmp_path: Path, masked_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []

    def watched(*told: Any) -> Any:
        taken.append(told)
        return random_scan_mode(*told)

    monkeypatch.setattr("fedefm.finetune.training.random_scan_mode", watched)
    site = write_site(tmp_path, masked_images, entry={"scan_mode": "convex"})
    tune(site, tmp_path / "out", *PRIVATE, "--convert", 0.5, steps=2)
    assert taken == [("convex", 0.5)]
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "| scan_mode | convex |" in card
    assert "Trained with differential privacy" in card
    (record,) = records(site)
    assert sum(record.spent.values()) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "'segmentation' has no `scan_mode` in .*owner can add"),
        (("--scan-mode", "linear"), "--scan-mode is for a MANIFEST"),
        (("--dataset", "other"), "'other' is not in"),
    ],
)
def test_a_site_says_its_scan_mode_itself(
    site: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        tune(site, tmp_path / "out", "--convert", 0.5, *words)
    assert not (tmp_path / "out").exists()


def test_labels_are_learned_privately_and_nothing_measured_leaves(
    site: Path, tmp_path: Path
) -> None:
    """Which labels there are is told, and not looked for: no image here has one."""
    order = ("--task", "classification", "--classes", "a,b", *PRIVATE)
    tune(site, tmp_path / "out", *order, steps=3)
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "Trained with differential privacy" in card
    for measured in ("AUROC", "accuracy of one label"):
        assert measured not in card
    assert "macro_auroc" in (tmp_path / "out" / "result.json").read_text()
    assert sum(records(site)[0].spent.values()) == 3


def test_a_diagnosis_is_learned_privately_by_adamw(masked_images: Path, tmp_path: Path) -> None:
    """Which classes there are is told; that the images here are all of one is not looked at."""
    labeled = shutil.copytree(masked_images, tmp_path / "labeled")
    manifest = labeled / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",c,,", ",c,a,"))
    site = write_site(tmp_path, labeled)
    recipe = ("--optimizer", "adamw", "--layer-decay", 0.5, "--schedule", "cosine")
    order = ("--task", "diagnosis", "--classes", "a,b", *recipe, *PRIVATE)
    tune(site, tmp_path / "out", *order, steps=3)
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "Trained with differential privacy" in card
    for measured in ("AUROC", "recognized", "accuracy"):
        assert measured not in card
    assert sum(records(site)[0].spent.values()) == 3


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_a_probe_is_private_and_leaves_the_backbone_as_it_came(
    site: Path, tmp_path: Path, task: str
) -> None:
    """Frozen parameters get neither gradient nor noise."""
    for name, last in (("probe", ("--train-last", 0)), ("whole", ())):
        classes = () if task == "segmentation" else ("--task", task, "--classes", "a,b")
        tune(site, tmp_path / name, *classes, *PRIVATE, *last, steps=2)
    start = build_segmenter("resnet_micro", 2, 32, seed=1).backbone.state_dict()
    kept = {}
    for name in ("probe", "whole"):
        found = load_file(tmp_path / name / "model.safetensors")
        kept[name] = {
            n for n, tensor in start.items() if torch.equal(found[f"backbone.{n}"], tensor)
        }
    assert kept["probe"] == start.keys()
    assert not kept["whole"]
    assert "alone; the backbone is as it started" in (tmp_path / "probe/model_card.md").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--patience", 2), "private training takes all of its steps"),
        (("--drop-path", 0.1), "private training passes images several times"),
        (("--frame-size", 64), "private training takes whole frames"),
        (("--train-last", 0, "--layer-decay", 0.5), "of which nothing learns"),
        (("--task", "classification", "--classes", ""), "private training has to be told"),
    ],
)
def test_what_would_tell_of_images_is_refused_before_anything_is_spent(
    site: Path, tmp_path: Path, options: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        tune(site, tmp_path / "out", *PRIVATE, *options)
    assert not (tmp_path / "out").exists()
    assert not (site.parent / "ledger.sqlite").exists()


def test_more_blocks_than_there_are_are_refused_before_anything_is_spent(
    site: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="train_last 9 is more than"):
        tune(site, tmp_path / "out", *PRIVATE, "--train-last", 9)
    assert not (site.parent / "ledger.sqlite").exists()


def test_two_fine_tunings_share_the_cap_and_the_second_is_refused_before_it_begins(
    site: Path, masked_images: Path, tmp_path: Path
) -> None:
    write_site(site.parent, masked_images, policy={"epsilon_cap": 7.0, "delta": 1e-3})
    tune(site, tmp_path / "first", *PRIVATE)
    with pytest.raises(BudgetExhausted, match="may spend epsilon 7"):
        tune(site, tmp_path / "second", *PRIVATE)
    assert not (tmp_path / "second").exists()
    assert len(records(site)) == 1


@pytest.mark.parametrize(
    ("settings", "options", "error", "words"),
    [
        ({"policy": {"require_dp": True}}, (), PolicyRefused, "requires differential privacy"),
        ({"policy": {"epsilon_cap": 3.0}}, (), PolicyRefused, "caps epsilon at 3"),
        ({"entry": {"unit": "image"}}, PRIVATE, PolicyRefused, "counted by the image"),
        ({"policy": {"delta": 0.5}}, ("--epsilon", 3, "--delta", 0.4), PolicyRefused, "one over"),
        ({"ledger": None}, PRIVATE, ConfigError, "names no ledger"),
        ({}, ("--epsilon", 0), ConfigError, "epsilon"),
        ({}, ("--epsilon", 3, "--unit", "hospital"), ConfigError, "unit"),
    ],
)
def test_what_the_site_does_not_allow_is_refused_before_an_image_is_opened(
    tmp_path: Path, masked_images: Path, settings: Any, options: Any, error: Any, words: str
) -> None:
    site = write_site(tmp_path, masked_images, **settings)
    (tmp_path / "out").mkdir()
    with pytest.raises(error, match=words):
        tune(site, tmp_path / "out" / "tuned", *options)
    assert not list((tmp_path / "out").iterdir())
    assert not (tmp_path / "ledger.sqlite").exists()


def test_a_site_that_demands_nothing_is_trained_on_as_before(site: Path, tmp_path: Path) -> None:
    assert "spent" not in tune(site, tmp_path / "out", "--batch-size", 2, steps=3)
    assert "Not protected" in (tmp_path / "out" / "model_card.md").read_text()
    assert not (site.parent / "ledger.sqlite").exists()


@pytest.mark.parametrize("words", [[], ["m.csv", "--site", "s.yaml", "--dataset", "d"]])
def test_the_images_are_named_once(tmp_path: Path, words: list[str]) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    finetune.register(app)
    evaluate.register(app)
    arguments = ["finetune", *words, "--scratch", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError)
    assert "either a MANIFEST, or --site with --dataset" in str(result.exception)


def tune_by_manifest(manifest: Path, out: Path) -> Any:
    """What ``fedefm finetune MANIFEST`` without a site raises, or None."""
    app = typer.Typer(pretty_exceptions_enable=False)
    finetune.register(app)
    evaluate.register(app)
    words = ["finetune", manifest, "--scratch", "--backbone", "resnet_micro", "--image-size", 32]
    words += ["--classes", "background,catheter", "--steps", 1, "--batch-size", 2, "--out", out]
    return CliRunner().invoke(app, [str(word) for word in words]).exception


@pytest.fixture
def hospital(tmp_path: Path, masked_images: Path) -> Path:
    """A site's folder of its own, with the manifest in it."""
    return Path(shutil.copytree(masked_images, tmp_path / "hospital"))


@pytest.mark.parametrize("named", ["manifest.csv", "../hospital/manifest.csv"])
def test_a_manifest_does_not_lead_around_the_site_file_beside_it(
    hospital: Path, tmp_path: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = write_site(hospital, hospital, entry={"manifest": named}, policy={"require_dp": True})
    link = tmp_path / "link.csv"
    link.symlink_to(hospital / "manifest.csv")
    monkeypatch.chdir(hospital)
    for manifest in (hospital / "manifest.csv", Path("manifest.csv"), link):
        refusal = tune_by_manifest(manifest, tmp_path / "out")
        assert isinstance(refusal, PolicyRefused)
        assert f"site file {site} requires differential privacy" in str(refusal)
        assert f"--site {site} --dataset segmentation" in str(refusal)
    assert not (tmp_path / "out").exists()


def test_the_site_file_refuses_before_the_manifest_is_read(hospital: Path, tmp_path: Path) -> None:
    write_site(hospital, hospital, policy={"require_dp": True})
    (hospital / "manifest.csv").write_text("no manifest")
    refusal = tune_by_manifest(hospital / "manifest.csv", tmp_path / "out")
    assert isinstance(refusal, PolicyRefused)


@pytest.mark.parametrize(
    "settings",
    [{"policy": {"require_dp": False}}, {"entry": {"manifest": "x.csv"}}],
    ids=["nothing required", "another manifest"],
)
def test_a_site_file_beside_that_does_not_forbid_it_lets_a_manifest_train(
    hospital: Path, tmp_path: Path, settings: Any
) -> None:
    write_site(hospital, hospital, **{"policy": {"require_dp": True}, **settings})
    assert tune_by_manifest(hospital / "manifest.csv", tmp_path / "out") is None
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_a_site_file_beside_that_cannot_be_read_may_forbid_it(
    hospital: Path, tmp_path: Path
) -> None:
    (hospital / "fedefm_site.yaml").write_text("policy: {require_dp: tru")
    refusal = tune_by_manifest(hospital / "manifest.csv", tmp_path / "out")
    assert isinstance(refusal, ConfigError)
    assert not (tmp_path / "out").exists()


def test_an_epsilon_needs_a_site(masked_images: Path, tmp_path: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    finetune.register(app)
    evaluate.register(app)
    arguments = ["finetune", str(masked_images / "manifest.csv"), "--scratch", "--epsilon", "3"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert "--epsilon needs --site" in str(result.exception)


def test_a_fine_tuning_that_fails_gives_back_what_it_did_not_draw(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> None:
        raise ConfigError("stopped")

    monkeypatch.setattr("fedefm.finetune.training.poly_rate", stop)
    with pytest.raises(ConfigError, match="stopped"):
        tune(site, tmp_path / "out", *PRIVATE)
    (record,) = records(site)
    assert not record.spent
    assert not record.is_open
    assert not (tmp_path / "out").exists()

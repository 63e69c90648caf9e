"""A probe learns from what the backbone gives, and leaves the backbone as it came."""

import pytest
import torch

from fedefm.config import FinetuneConfig, parse
from fedefm.data.dataset import FrameDataset
from fedefm.errors import ConfigError, ModelError
from fedefm.finetune.classify import LabelClassification
from fedefm.finetune.diagnose import Diagnosis
from fedefm.finetune.job import FinetuneJob, run_finetuning
from fedefm.finetune.segment import Segmentation
from fedefm.finetune.start import Start
from fedefm.finetune.training import finetune

CLASSES = ("background", "catheter", "guidewire")


def marked(lines):
    return Segmentation(CLASSES), lines


def labeled(lines):
    classes, rows = ("dark", "bright"), torch.arange(len(lines))
    return Diagnosis(classes), FrameDataset(lines.images, rows % 2, lines.patients, classes)


def several(lines):
    classes, rows = ("bar", "row"), torch.arange(len(lines))
    return LabelClassification(classes), FrameDataset(
        lines.images, rows % 4, lines.patients, classes
    )


def tuned(task, data, backbone, **settings):
    """The model's tensors before and after, and which of them differ."""
    model = task.build(Start(None, backbone, 32), seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings = {"steps": 4, "batch_size": 4, "learning_rate": 0.05, **settings}
    finetune(task, model, data, data.subset(torch.arange(8)), FinetuneConfig(**settings), seed=1)
    after = model.state_dict()
    return {name for name, tensor in after.items() if not torch.equal(before[name], tensor)}, after


@pytest.mark.parametrize("backbone", ["vit_micro", "resnet_micro"])
@pytest.mark.parametrize("kind", [marked, labeled, several])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_of_a_probe_all_but_the_backbone_changes(lines, kind, backbone, optimizer):
    decay = {"weight_decay": 0.1} if optimizer == "adamw" else {}
    changed, after = tuned(
        *kind(lines), backbone, optimizer=optimizer, train_last=0, drop_path=0.0, **decay
    )
    behind = {name for name in after if not name.startswith("backbone.")}
    assert not {name for name in changed if name.startswith("backbone.")}
    assert behind
    assert changed == behind


def test_with_one_block_the_last_one_learns_and_none_before(lines):
    changed, after = tuned(*labeled(lines), "vit_micro", train_last=1)
    in_blocks = {n.split(".")[2] for n in changed if n.startswith("backbone.blocks.")}
    assert in_blocks == {"3"}
    assert {n.split(".")[2] for n in after if n.startswith("backbone.blocks.")} == set("0123")
    assert not any(n.startswith(("backbone.tokens.", "backbone.patch_embed.")) for n in changed)


@pytest.mark.parametrize(("emptied", "low", "high"), [(False, 0.7, 1.0), (True, 0.5, 0.5)])
def test_a_probe_knows_no_more_than_its_backbone(lines, emptied, low, high):
    classes, turned = ("across", "down"), lines.images.clone()
    turned[::2] = turned[::2].flip(3).transpose(2, 3)  # a dark row becomes a dark column
    sides = torch.arange(len(lines)) % 2
    data = FrameDataset(turned, sides, lines.patients, classes)
    task = Diagnosis(classes)
    model = task.build(Start(None, "resnet_micro", 32), seed=1)
    with torch.no_grad():
        for parameter in model.backbone.parameters() if emptied else ():
            parameter.zero_()
    config = FinetuneConfig(steps=60, learning_rate=0.3, train_last=0)
    finetune(task, model, data, None, config, seed=1)
    assert low <= task.look(task.answers(model, data), data) <= high


def test_the_card_says_what_learned(lines_manifest, tmp_path):
    start = Start(None, "resnet_micro", 32)
    for last, words in (
        (0, "| trained | decoder and head alone; the backbone is as it started (a probe) |"),
        (1, "| trained | the last 1 block and decoder and head |"),
        (None, None),
    ):
        config = FinetuneConfig(steps=1, train_last=last)
        task = Segmentation(CLASSES)
        out = tmp_path / str(last)
        run_finetuning(FinetuneJob(lines_manifest, out, start, config, task))
        card = (out / "model_card.md").read_text()
        assert (words in card) if words else ("trained |" not in card)


def test_more_blocks_than_there_are_are_refused_and_nothing_is_written(lines_manifest, tmp_path):
    config = FinetuneConfig(steps=1, train_last=9)
    job = FinetuneJob(
        lines_manifest,
        tmp_path / "out",
        Start(None, "vit_micro", 32),
        config,
        Segmentation(CLASSES),
    )
    with pytest.raises(ModelError, match="train_last 9 is more than the 4 blocks"):
        run_finetuning(job)
    assert not (tmp_path / "out").exists()


def test_a_share_of_a_rate_that_nothing_has_is_refused():
    with pytest.raises(ConfigError, match=r"layer_decay 0\.5 is of the backbone"):
        parse({"train_last": 0, "layer_decay": 0.5}, FinetuneConfig, "the command line")

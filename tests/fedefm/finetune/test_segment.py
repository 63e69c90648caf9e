import pytest
import torch

from fedefm.config import FinetuneConfig
from fedefm.data.dataset import FrameDataset
from fedefm.data.scan_mode import ULTRAFEDFM, random_scan_mode, to_convex
from fedefm.errors import ConfigError
from fedefm.events import EventLog
from fedefm.finetune.augment import fluoroscopy_views
from fedefm.finetune.evaluate import evaluate_segmenter
from fedefm.finetune.segment import Segmentation
from fedefm.finetune.start import Start
from fedefm.finetune.training import finetune, poly_rate, views_for
from fedefm.model.segmenter import build_segmenter
from fedefm.model.weights import weights_of

TASK = Segmentation(("background", "catheter", "guidewire"))


def small():
    return build_segmenter("resnet_micro", 3, 32, seed=1)


def settings(steps, fraction=1.0):
    return FinetuneConfig(steps=steps, batch_size=4, learning_rate=0.1, label_fraction=fraction)


def test_the_rate_falls_from_its_base_to_nothing():
    rates = [poly_rate(0.1, step, 50) for step in range(51)]
    assert rates[0] == 0.1
    assert rates[25] == pytest.approx(0.1 * 0.5**0.9)
    assert rates[50] == 0
    assert rates == sorted(rates, reverse=True)


def test_training_finds_the_lines_and_keeps_the_weights_of_its_best_look(lines):
    train, validation = lines.subset(torch.arange(48)), lines.subset(torch.arange(48, 64))
    events = []
    model = small()
    before = evaluate_segmenter(model, validation).mean_dice.value
    log = EventLog(listeners=(events.append,))
    result = finetune(TASK, model, train, validation, settings(120), seed=1, events=log)
    after = evaluate_segmenter(model, validation).mean_dice.value
    looks = {e["step"]: e["score"] for e in events if e["event"] == "finetune_validation"}
    assert after > 0.7 > 0.3 > before
    assert after == looks[result.best_step] == max(looks.values())
    assert result.validation.mean_dice.value == after
    assert max(looks) == 120
    assert len(looks) == 10


def test_steps_and_rates_are_told_as_they_were_taken(lines):
    events = []
    log = EventLog(listeners=(events.append,))
    finetune(TASK, small(), lines, None, settings(25), seed=1, events=log)
    steps = [e for e in events if e["event"] == "finetune_step"]
    assert [e["step"] for e in steps] == [10, 20, 25]
    assert [e["rate"] for e in steps] == [poly_rate(0.1, s, 25) for s in (0, 10, 20)]


def test_only_the_labeled_share_of_the_patients_is_seen(lines, monkeypatch):
    seen = set()
    plain = FrameDataset.batch

    def watched(dataset, rows, *rest):
        seen.update(dataset.patients[rows].tolist())
        return plain(dataset, rows, *rest)

    monkeypatch.setattr(FrameDataset, "batch", watched)
    result = finetune(TASK, small(), lines, None, settings(12, fraction=0.25), seed=1)
    assert len(seen) == result.train_patients == 4
    assert result.train_images == 16


def test_same_seed_same_weights_and_no_validation_keeps_the_last(lines):
    weights = []
    for seed in (1, 1, 2):
        model = small()
        result = finetune(TASK, model, lines, None, settings(3), seed=seed)
        assert (result.best_step, result.validation) == (3, None)
        weights.append(weights_of(model))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_augmentation_moves_image_and_mask_together(lines):
    rng = torch.Generator().manual_seed(0)
    images = lines.images[:16].float() / 255
    moved, masks = fluoroscopy_views()(images, lines.masks[:16], rng)
    assert not torch.equal(masks, lines.masks[:16])
    assert masks.unique().tolist() == [0, 1, 2]
    bright = moved[:, 0][masks == 1].mean()
    dark = moved[:, 0][masks == 2].mean()
    assert bright - dark > 0.4


def converting(share):
    return FinetuneConfig(steps=2, batch_size=4, scan_mode="linear", convert=share)


def test_image_and_mask_are_converted_together_and_varied_afterwards(lines):
    images, masks = lines.images[:16].float() / 255, lines.masks[:16]
    views = views_for(converting(0.5), TASK, small())
    seen, marked = views(images, masks, torch.Generator().manual_seed(3))
    rng = torch.Generator().manual_seed(3)
    bent = random_scan_mode("linear", 0.5)(images, masks, rng)
    assert not torch.equal(bent[1], masks)
    again, expected = fluoroscopy_views()(*bent, rng)
    assert torch.equal(seen, again)
    assert torch.equal(marked, expected)


def test_whole_frames_are_converted_before_tiles_are_cut(lines):
    task, tile = (
        Segmentation(lines.classes, frame_size=32),
        build_segmenter("resnet_micro", 3, 16, 1),
    )
    images, masks = lines.images[:8].float() / 255, lines.masks[:8]
    rng = [torch.Generator().manual_seed(3) for _ in range(2)]
    seen, _ = views_for(converting(1.0), task, tile)(images, masks, rng[0])
    torch.rand(8, generator=rng[1])  # who is converted
    bent, marked = to_convex(images, masks, ULTRAFEDFM)
    assert torch.equal(seen, task.augmentation(16)(bent, marked, rng[1])[0])


def test_without_a_scan_mode_views_are_those_of_the_task(lines):
    images, rng = lines.images[:4].float() / 255, torch.Generator().manual_seed
    plain = views_for(settings(2), TASK, small())(images, None, rng(1))[0]
    assert torch.equal(plain, fluoroscopy_views()(images, None, rng(1))[0])


def test_patience_ends_training_where_nothing_becomes_better(lines, monkeypatch):
    train, validation = lines.subset(torch.arange(48)), lines.subset(torch.arange(48, 64))
    scores = iter([0.3, 0.5, 0.4, 0.45, 0.9, 0.9])
    monkeypatch.setattr(Segmentation, "look", lambda task, answers, dataset: next(scores))
    patient = settings(100).model_copy(update={"patience": 2})
    result = finetune(TASK, small(), train, validation, patient, seed=1)
    assert (result.steps, result.best_step, result.stopped_early) == (40, 20, True)


def test_a_model_that_finds_nothing_yet_is_not_stopped(lines, monkeypatch):
    train, validation = lines.subset(torch.arange(48)), lines.subset(torch.arange(48, 64))
    scores = iter([0.0, 0.0, 0.0, 0.2, 0.0, 0.1])
    monkeypatch.setattr(Segmentation, "look", lambda task, answers, dataset: next(scores))
    patient = settings(100).model_copy(update={"patience": 2})
    result = finetune(TASK, small(), train, validation, patient, seed=1)
    assert (result.steps, result.best_step) == (60, 40)


def test_patience_that_is_never_tried_takes_all_steps(lines):
    train, validation = lines.subset(torch.arange(48)), lines.subset(torch.arange(48, 64))
    patient = settings(20).model_copy(update={"patience": 10})
    result = finetune(TASK, small(), train, validation, patient, seed=1)
    assert (result.steps, result.stopped_early) == (20, False)


def test_patience_needs_something_to_look_at(lines):
    patient = settings(20).model_copy(update={"patience": 1})
    with pytest.raises(ConfigError, match="no validation split to stop by"):
        finetune(TASK, small(), lines, None, patient, seed=1)


def test_two_classes_are_learned_as_well_as_three(lines):
    masks = (lines.masks == 1).to(torch.uint8)
    bars = FrameDataset(
        lines.images, lines.labels, lines.patients, ("background", "catheter"), masks
    )
    task, model = Segmentation(bars.classes), build_segmenter("resnet_micro", 2, 32, seed=1)
    train, validation = bars.subset(torch.arange(48)), bars.subset(torch.arange(48, 64))
    finetune(task, model, train, None, settings(120), seed=1)
    scores = evaluate_segmenter(model, validation)
    assert list(scores.dice) == ["catheter"]
    assert scores.mean_dice.value == scores.dice["catheter"].value > 0.7


def test_tiles_are_learned_and_put_together(lines):
    start = Start(None, "resnet_micro", 16)
    task = Segmentation(lines.classes, frame_size=32)
    model = task.build(start, seed=1)
    shapes = set()
    model.register_forward_hook(lambda module, given, out: shapes.add(tuple(out.shape[1:])))
    train, validation = lines.subset(torch.arange(48)), lines.subset(torch.arange(48, 64))
    result = finetune(task, model, train, validation, settings(200), seed=1)
    assert shapes == {(3, 16, 16)}
    assert result.validation.mean_dice.value > 0.6
    assert task.answers(model, validation).shape == (16, 32, 32)


def test_frames_smaller_than_a_tile_are_refused():
    with pytest.raises(ConfigError, match="choose one from 32 to 4096"):
        Segmentation(TASK.classes, frame_size=24).build(Start(None, "resnet_micro", 32), seed=1)

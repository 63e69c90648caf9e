import contextlib

import numpy as np
import pytest
import torch
from torch import nn

from fedefm.data.dataset import FrameDataset
from fedefm.errors import DataError
from fedefm.finetune.evaluate import (
    evaluate_foundation,
    evaluate_segmenter,
    evaluation_mode,
)
from fedefm.finetune.mask_scores import score_masks
from fedefm.finetune.result import as_json
from fedefm.finetune.segment import Segmentation
from tests.fedefm.finetune.scans import Scan, draw


class BrightestColumn(nn.Module):
    """Classifies an image by its brightest column; fails in training mode or with gradients."""

    def __init__(self, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(classes))

    def forward(self, x):
        assert not self.training
        assert not torch.is_grad_enabled()
        return x.mean(dim=(1, 2)) @ self.weight


def striped(columns, labels, patients, size=4):
    images = torch.zeros(len(columns), 1, size, size, dtype=torch.uint8)
    for image, column in zip(images, columns, strict=True):
        image[0, :, column] = 255
    names = tuple("abcd")
    return FrameDataset(images, torch.tensor(labels), torch.tensor(patients), names)


def test_accuracy_confusion_and_classes_of_a_known_classifier():
    dataset = striped([0, 0, 1, 2, 2], [0, 1, 1, 2, 2], [0, 0, 1, 1, 2])
    scores = evaluate_foundation(BrightestColumn(4), dataset, batch_size=2)
    assert scores.accuracy.value == 4 / 5
    assert (scores.images, scores.patients) == (5, 3)
    assert [scores.per_class[k].value for k in "abc"] == [1, 0.5, 1]
    assert np.isnan(scores.per_class["d"].value)  # does not occur: nothing is known
    assert scores.confusion == ((1, 0, 0, 0), (1, 1, 0, 0), (0, 0, 2, 0), (0, 0, 0, 0))
    assert scores.accuracy.low <= 0.8 <= scores.accuracy.high


def test_no_images_is_one_sentence():
    with pytest.raises(DataError, match="no images"):
        evaluate_foundation(BrightestColumn(4), striped([], [], []))


def test_every_module_gets_its_mode_back_also_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    model[1].eval()
    seen = []
    with contextlib.suppress(RuntimeError), evaluation_mode(model):
        seen.append(model[0].training)
        raise RuntimeError
    assert seen == [False]
    assert model.training
    assert model[0].training
    assert not model[1].training


class Threshold(nn.Module):
    """Calls bright pixels class 1."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.info = {"image_size": "32"}

    def forward(self, x):
        return torch.cat([torch.zeros_like(x), x * self.weight, torch.full_like(x, -9)], dim=1)


def test_a_segmenter_that_sees_every_device_scores_one_and_empty_images_count_as_no_alarm():
    images = torch.zeros(3, 1, 16, 16, dtype=torch.uint8)
    images[:2, 0, 8, 2:14] = 255
    dataset = FrameDataset(
        images,
        torch.full((3,), -1),
        torch.arange(3),
        ("background", "catheter", "guidewire"),
        (images[:, 0] > 0).to(torch.uint8),
    )
    scores = evaluate_segmenter(Threshold(), dataset, batch_size=2)
    assert scores.mean_dice.value == scores.miou.value == scores.dice["catheter"].value == 1
    assert scores.cldice["catheter"].value == 1
    assert scores.mean_dice.patients == 2  # the third patient has no device
    assert np.isnan(scores.dice["guidewire"].value)
    assert scores.false_alarm.value == 0
    assert scores.image_dice[:2] == (1, 1)
    assert np.isnan(scores.image_dice[2])


def test_a_dataset_without_masks_is_one_sentence():
    with pytest.raises(DataError, match="no masks"):
        evaluate_segmenter(Threshold(), striped([0], [0], [0]))


def test_false_alarms_and_means_by_hand():
    truth = np.zeros((3, 4, 4), int)
    truth[0, 0] = 1  # half found; the others are empty, and one of them is called full
    predicted = np.zeros_like(truth)
    predicted[0, 0, :2] = 1
    predicted[1] = 2
    scores = score_masks(predicted, truth, np.array([5, 5, 6]), ("catheter", "guidewire"))
    assert scores.dice["catheter"].value == pytest.approx(2 * 2 / (2 + 4))
    assert scores.jaccard["catheter"].value == pytest.approx(2 / 4)
    assert scores.dice["guidewire"].value == 0
    assert scores.mean_dice.value == pytest.approx((2 / 3 + 0) / 2)  # one patient, two images
    assert scores.false_alarm.value == pytest.approx(0.5)
    background = np.mean([(12 / 14 + 0.5) / 2, (0 + 0) / 2])  # images of patient 5, with class 0
    assert scores.miou_with_background.value == pytest.approx((background + 1) / 2)


def test_the_quick_look_agrees_with_the_full_measurement(lines):
    model, task = Threshold(), Segmentation(lines.classes)
    full = evaluate_segmenter(model, lines)
    answers = task.answers(model, lines)
    assert task.look(answers, lines) == pytest.approx(full.mean_dice.value)
    assert as_json(task.score(answers, lines)) == as_json(full)
    empty = lines.subset(torch.arange(2))
    empty.images.fill_(9)
    empty.masks.zero_()
    assert np.isnan(task.look(task.answers(model, empty), empty))


def test_distances_are_in_pixels_and_in_millimeters_where_a_pixel_is_known():
    truth = np.zeros((2, 16, 16), int)
    truth[:, 8, :10] = 1
    short = truth.copy()
    short[:, 8, 6:10] = 0
    spacing = np.array([[0.5, 0.25], [np.nan, np.nan]])
    scores = score_masks(short, truth, np.array([3, 4]), ("wire",), spacing=spacing)
    assert scores.frame_px == (16, 16)
    assert scores.tip_px["wire"].value == 4
    assert (scores.tip_mm["wire"].value, scores.tip_mm["wire"].patients) == (1, 1)
    assert scores.hd95_mm["wire"].value == pytest.approx(0.25 * scores.hd95_px["wire"].value)
    unknown = score_masks(short, truth, np.array([3, 4]), ("wire",))
    assert np.isnan(unknown.tip_mm["wire"].value)


@pytest.mark.parametrize("devices", [("pubic_symphysis", "fetal_head"), ("fetal_head", "vessel")])
def test_the_angle_of_progression_is_a_score_where_both_of_its_structures_are_classes(devices):
    values = np.array([0, 1, 2] if "pubic_symphysis" in devices else [0, 0, 1])
    pixel = (1.0, 0.5)
    truth, found = (values[draw(Scan(angle=angle), pixel)][None] for angle in (100, 120))
    scores = score_masks(found, truth, np.zeros(1, int), devices, shape=np.array([pixel]))
    if "pubic_symphysis" in devices:
        assert scores.angle.error.value == pytest.approx(20, abs=1)
        square = score_masks(found, truth, np.zeros(1, int), devices).angle.error.value
        assert abs(square - 20) > 2
    else:
        assert scores.angle is None


def test_structures_are_found_by_name_whatever_their_values():
    truth, found = (draw(Scan(angle=angle))[None] for angle in (100, 120))
    scores = [
        score_masks(np.array(values)[found], np.array(values)[truth], np.zeros(1, int), devices)
        for values, devices in (
            ((0, 1, 2), ("pubic_symphysis", "fetal_head")),
            ((0, 3, 1), ("fetal_head", "bladder", "pubic_symphysis")),
        )
    ]
    assert scores[0].angle == scores[1].angle
    assert scores[0].angle.missed == 0

import numpy as np
import pytest

from fedefm.finetune.overlay import COLORS, draw_overlay, draw_pair

CLASSES = ("background", "catheter", "guidewire")


def marked(size=64):
    mask = np.zeros((size, size), int)
    mask[10:12, 5:50] = 1
    mask[40, 5:50] = 2
    return np.full((size, size), 0.5), mask


def test_devices_wear_their_colors_and_the_background_keeps_its_gray():
    image, mask = marked(400)
    pixels = np.asarray(draw_overlay(image, mask, CLASSES))
    for k, color in enumerate(COLORS[:2], start=1):
        drawn = pixels[:400][mask == k].astype(float).mean(axis=0)
        assert np.abs(drawn - np.array(color)).max() < 45
    assert (pixels[:400][mask == 0] == 128).all()


def test_small_images_are_enlarged_by_a_whole_factor_and_get_a_legend():
    image, mask = marked(64)
    picture = draw_overlay(image, mask, CLASSES)
    assert picture.width == 320
    assert picture.height > 320
    legend = np.asarray(picture)[320:]
    assert all((legend == color).all(axis=2).any() for color in COLORS[:2])


def test_the_two_device_colors_differ_for_every_common_kind_of_color_vision():
    # Simulation matrices of Machado et al. (2009), severity 1, on linear RGB.
    deficiency = {
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "tritanopia": [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    }
    linear = (np.array(COLORS[:2]) / 255) ** 2.2
    for matrix in deficiency.values():
        seen = np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        assert np.abs(seen[0] - seen[1]).max() > 0.3


def test_a_long_legend_breaks_into_lines():
    image, mask = marked(320)
    many = ("background", *(f"device number {i}" for i in range(7)))
    one_line = draw_overlay(image, mask, CLASSES).height
    assert draw_overlay(image, mask, many).height > one_line


@pytest.mark.parametrize("shape", [(30, 200), (500, 500)])
def test_truth_and_prediction_stand_side_by_side(shape):
    image, mask = np.zeros(shape), np.zeros(shape, int)
    assert draw_pair(image, mask, mask, CLASSES).width > 2 * shape[1]

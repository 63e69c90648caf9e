import numpy as np
import pytest
from PIL import Image

from fedefm.finetune.overlay import COLORS, draw_overlay
from fedefm.predict import animation
from fedefm.predict.animation import frame_milliseconds, write_animation

CLASSES = ("background", "catheter", "guidewire")


@pytest.fixture
def overlays(tmp_path):
    """Six noisy frames with a wire that moves, 400 px."""
    rng = np.random.default_rng(0)
    paths = []
    for k in range(6):
        mask = np.zeros((400, 400), np.uint8)
        mask[50 * k + 20 : 50 * k + 40] = 1 + k % 2
        draw_overlay(rng.random((400, 400)), mask, CLASSES).save(tmp_path / f"{k}.png")
        paths.append(tmp_path / f"{k}.png")
    return paths


def test_it_plays_at_the_rate_of_the_run_and_keeps_the_colors(overlays, tmp_path):
    write_animation(tmp_path / "a.gif", overlays, 33)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 6
        times = []
        for k in range(6):
            gif.seek(k)
            times.append(gif.info["duration"])
            row = np.asarray(gif.convert("RGB"))[50 * k + 30].mean(axis=0)
            truth = np.asarray(Image.open(overlays[k]))[50 * k + 30].mean(axis=0)
            assert np.abs(row - truth).max() < 12
            assert np.abs(row - np.array(COLORS[k % 2])).max() < 60
    assert sum(times) == pytest.approx(6 * 33, abs=5)  # a GIF counts hundredths of a second


def test_its_size_is_bounded_by_fewer_pixels_and_fewer_frames(overlays, tmp_path, monkeypatch):
    write_animation(tmp_path / "whole.gif", overlays, 100)
    monkeypatch.setattr(animation, "LARGEST", (tmp_path / "whole.gif").stat().st_size - 1)
    monkeypatch.setattr(animation, "MOST_FRAMES", 3)
    write_animation(tmp_path / "bounded.gif", overlays, 100)
    with Image.open(tmp_path / "bounded.gif") as gif:
        assert gif.n_frames == 3
        assert gif.info["duration"] == 200
    monkeypatch.setattr(animation, "LARGEST", (tmp_path / "bounded.gif").stat().st_size - 1)
    write_animation(tmp_path / "small.gif", overlays, 100)
    with Image.open(tmp_path / "small.gif") as gif:
        assert max(gif.size) == 384


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ({"FrameTime": "33.3"}, 33.3),
        ({"FrameTimeVector": [0, 60, 70]}, 65),
        ({"CineRate": 25}, 40),
        ({"RecommendedDisplayFrameRate": 10}, 100),
        ({"FrameTime": "0"}, None),
        ({}, None),
    ],
)
def test_the_time_between_frames_is_read_from_the_header(header, wanted, write_dicom, tmp_path):
    path = write_dicom(tmp_path / "run.dcm", np.zeros((3, 8, 8), np.uint8), **header)
    assert frame_milliseconds(path) == (None if wanted is None else pytest.approx(wanted))

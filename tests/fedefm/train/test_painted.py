"""Pictures of what an autoencoder paints: which images, and what is in each of the three parts."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from fedefm.config import MaskingConfig
from fedefm.data.masked import MaskedFrames
from fedefm.data.patches import cut, normalized
from fedefm.model.mae import build_masked_autoencoder
from fedefm.train.painted import GAP, draw_painted
from fedefm.train.reconstruction import explained

PATCH, SIDE = 8, 16


@pytest.fixture
def frames(world):
    return MaskedFrames(world.images_of(0, 9), PATCH, MaskingConfig())


class Painter(torch.nn.Module):
    """Paints hidden patches perfectly, but for ``share`` of their contrast."""

    def __init__(self, frames, share):
        super().__init__()
        self.frames, self.share = frames, share

    def forward(self, images, kept):
        place = [
            int((images[0] == self.frames.batch(torch.tensor([k])).images[0]).all())
            for k in range(len(self.frames))
        ].index(1)
        clean = self.frames.batch(torch.tensor([place])).clean
        return normalized(cut(clean, PATCH)) * self.share[place]


def parts_of(path):
    picture = np.asarray(Image.open(path)).astype(float) / 255
    side = picture.shape[0]
    times = side // SIDE
    cells = [picture[:, k * (side + GAP) :][:, :side][::times, ::times] for k in range(3)]
    assert picture.shape == (side, 3 * side + 2 * GAP)
    return cells


def test_best_usual_and_worst_images_are_drawn_once_each(frames, tmp_path):
    share = torch.linspace(0.1, 0.9, len(frames)).tolist()
    paths = draw_painted(tmp_path / "painted", Painter(frames, share), {"north": frames})
    told = json.loads((tmp_path / "painted" / "scores.json").read_text())["images"]
    assert [one["file"] for one in told] == [path.name for path in paths]
    by_case = {
        case: [o["explained"] for o in told if o["case"] == case]
        for case in ("best", "median", "worst")
    }
    every = sorted(1 - (1 - s) ** 2 for s in share)
    assert sorted(by_case["best"]) == pytest.approx(every[-2:], abs=1e-3)
    assert sorted(by_case["worst"]) == pytest.approx(every[:2], abs=1e-3)
    assert every[2] < min(by_case["median"]) <= max(by_case["median"]) < every[-2]


def test_a_perfect_painter_shows_the_truth_and_hides_what_is_hidden(frames, tmp_path):
    perfect = Painter(frames, [1.0] * len(frames))
    (path, *_) = draw_painted(tmp_path, perfect, {"north": frames})
    seen, painted, truth = parts_of(path)
    assert np.abs(painted - truth).max() < 2 / 255
    patches = np.abs(seen - truth).reshape(2, PATCH, 2, PATCH).max(axis=(1, 3))
    hidden = seen.reshape(2, PATCH, 2, PATCH).std(axis=(1, 3)) == 0
    assert hidden.sum() == 3
    assert (patches[~hidden] < 2 / 255).all()


def test_the_score_beside_a_picture_is_that_of_the_model(frames, tmp_path):
    model = build_masked_autoencoder("vit_micro", SIDE, 1)
    draw_painted(tmp_path, model, {"north": frames})
    told = json.loads((tmp_path / "scores.json").read_text())["images"]
    every = [float(explained(model, frames.batch(torch.tensor([k])))) for k in range(len(frames))]
    assert all(min(abs(one["explained"] - score) for score in every) < 1e-5 for one in told)
    assert max(one["explained"] for one in told) == pytest.approx(max(every))


def test_a_single_image_is_drawn_once(frames, tmp_path):
    paths = draw_painted(
        tmp_path,
        build_masked_autoencoder("vit_micro", SIDE, 1),
        {"north": frames.subset(torch.tensor([4]))},
    )
    assert len(paths) == 1

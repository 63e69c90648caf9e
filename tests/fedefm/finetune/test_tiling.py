import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.dataset import resize_image, standardize
from fedefm.errors import ConfigError
from fedefm.finetune.checkpoint import TrainedSegmenter
from fedefm.finetune.tiling import segment_large, tile_places, tiled_logits
from fedefm.model.segmenter import build_segmenter

CLASSES = ("background", "catheter", "guidewire")


class Local(torch.nn.Module):
    """Sees each pixel alone, and is not fooled by how a tile was standardized."""

    def __init__(self, size=32):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(1))
        self.info = {"image_size": str(size)}
        self.shapes = []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        return torch.cat([torch.zeros_like(x), x.sign() + self.bias, torch.full_like(x, -9)], 1)


@given(st.integers(8, 64), st.integers(0, 200))
def test_tiles_cover_the_frame_and_overlap_by_half(size, more):
    length = size + more
    places = tile_places(length, size)
    assert places[0] == 0
    assert places[-1] == length - size
    steps = np.diff(places)
    assert ((steps > 0) & (steps <= (size + 1) // 2 + 1)).all()


def whole(segmenter, frame):
    """Prediction without any tile."""
    small = resize_image(frame, segmenter.image_size)[None, None].float() / 255
    with torch.inference_mode():
        logits = segmenter.model.eval()(standardize(small))
    large = torch.nn.functional.interpolate(logits, size=frame.shape, mode="bilinear")
    return large[0].argmax(dim=0).numpy()


@pytest.mark.parametrize("backbone", ["resnet_micro", "vit_micro"])
def test_a_frame_of_the_models_size_is_predicted_as_without_tiles(backbone):
    segmenter = TrainedSegmenter(build_segmenter(backbone, 3, 64, seed=1), CLASSES)
    shapes = [(64, 64), (64, 64), (90, 150)]  # the last one is resized, as without tiles
    frames = [np.random.default_rng(k).random(shape, np.float32) for k, shape in enumerate(shapes)]
    for frame, tiled in zip(frames, segment_large(segmenter, frames), strict=True):
        assert np.array_equal(tiled, whole(segmenter, frame))


def test_what_tiles_agree_on_is_what_comes_out_and_every_tile_is_of_the_models_size():
    model = Local()
    frame = torch.rand(2, 1, 80, 112, generator=torch.Generator().manual_seed(0))
    frame = (frame > 0.5).float()  # each tile has both, so its mean is between them
    logits = tiled_logits(model, frame, 32)
    assert logits.shape == (2, 3, 80, 112)
    torch.testing.assert_close(logits[:, 1:2], 2 * frame - 1)
    assert all(shape[1:] == (1, 32, 32) for shape in model.shapes)


def test_a_tile_counts_least_at_its_edge():
    class Edges(Local):
        def forward(self, x):
            flat = torch.full_like(x, 1.0)
            flat[..., 2:-2, 2:-2] = 0
            return torch.cat([flat, 0 * flat], dim=1)

    logits = tiled_logits(Edges(), torch.rand(1, 1, 64, 64), 32)[0, 0]
    assert logits[4:-4, 4:-4].max() < 0.25  # wrong at the edge of a tile, right in the next
    assert logits[0, 0] == 1  # at the frame's own edge there is no other


class Dark(Local):
    """Calls class 1 what is far darker than the rest of its tile."""

    def forward(self, x):
        return torch.cat([torch.full_like(x, 0.5), (x < -4).float(), 0 * x], dim=1)


def test_a_wire_of_one_pixel_is_seen_in_tiles_and_lost_in_resizing():
    frame = 0.8 + 0.04 * np.random.default_rng(0).random((256, 256), np.float32)
    frame[:, 101] = 0.5
    segmenter = TrainedSegmenter(Dark(), CLASSES)
    tiled = segment_large(segmenter, [frame], side=256)[0]
    assert np.array_equal(tiled == 1, frame < 0.6)
    blurred = segment_large(segmenter, [frame], side=32)[0]
    assert not np.array_equal(blurred, tiled)


@pytest.mark.parametrize("side", [16, 5000])
def test_a_side_out_of_reach_is_one_sentence(side):
    segmenter = TrainedSegmenter(Local(), CLASSES)
    with pytest.raises(ConfigError, match="choose a side from 32 to 4096"):
        segment_large(segmenter, [np.zeros((40, 40), np.float32)], side)

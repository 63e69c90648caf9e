"""Frames larger than a model's images, in overlapping tiles.

A wire of two pixels in a frame of 1024 is half a pixel wide once the frame is resized to 256. So
the frame keeps more of its pixels and the model sees it tile by tile, each standardized by itself
as in training. Tiles overlap by half and their logits are blended with weights that fall towards
the edge of a tile, where the model sees the least of what is around.

A model that was trained on whole frames takes tiles for frames, in which everything is larger than
it knows; train it on tiles (``frame_size`` of the fine-tuning) if it is to be used on them.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedefm.data.dataset import resize_image, standardize
from fedefm.errors import ConfigError
from fedefm.finetune.checkpoint import TrainedSegmenter
from fedefm.finetune.evaluate import evaluation_mode

LARGEST_SIDE = 4096  # pixels; logits of all classes are held for one frame of this size
_TILES = 8  # a pass through the model

Gray = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]


@torch.inference_mode()
def segment_large(
    segmenter: TrainedSegmenter, images: Sequence[Gray], side: int | None = None
) -> list[Mask]:
    """The label map (H, W) of each image (H, W) in [0, 1]; images may differ in size.

    Every image is brought to ``side`` x ``side`` pixels, predicted in tiles of the model's size,
    and its logits are resized to the image's own. With the model's size as side there is one tile,
    and that is plain prediction.

    Args:
        side: at least the model's size; None takes the one that the model was trained on.
    Raises ConfigError for a side out of reach.
    """
    size = segmenter.image_size
    side = segmenter.frame_size if side is None else side
    if not size <= side <= LARGEST_SIDE:
        raise ConfigError(
            f"frames of {side} pixels a side cannot be cut into tiles of {size}; choose a side "
            f"from {size} to {LARGEST_SIDE}"
        )
    frames = torch.stack([resize_image(image, side) for image in images])[:, None].float() / 255
    at_once = len(frames) if side == size else 1  # tiles of one frame are a batch
    logits = (
        one for some in frames.split(at_once) for one in tiled_logits(segmenter.model, some, size)
    )
    return [_label_map(one, image.shape) for one, image in zip(logits, images, strict=True)]


def tiled_logits(model: nn.Module, images: Tensor, size: int) -> Tensor:
    """Logits ``(B, K, H, W)`` of images ``(B, 1, H, W)`` in [0, 1] from tiles of ``size`` squared.

    Images of the model's own size go through it whole. H and W are at least ``size``.
    """
    device = next(model.parameters()).device
    with evaluation_mode(model):
        if images.shape[-2:] == (size, size):
            whole: Tensor = model(standardize(images).to(device))
            return whole
        return torch.cat([_blended(model, image, size, device) for image in images])


def tile_places(length: int, size: int) -> list[int]:
    """Where tiles of ``size`` begin along ``length`` pixels: evenly, half overlapping at least."""
    if length == size:
        return [0]
    count = -(-2 * (length - size) // size) + 1
    return [round(k * (length - size) / (count - 1)) for k in range(count)]


def _blended(model: nn.Module, image: Tensor, size: int, device: torch.device) -> Tensor:
    """Logits ``(1, K, H, W)`` of one image ``(1, H, W)``."""
    height, width = image.shape[-2:]
    places = [(y, x) for y in tile_places(height, size) for x in tile_places(width, size)]
    weight = _weight(size).to(device)
    total, weights = torch.zeros(()), torch.zeros(height, width, device=device)
    for start in range(0, len(places), _TILES):
        chosen = places[start : start + _TILES]
        tiles = torch.stack([image[:, y : y + size, x : x + size] for y, x in chosen])
        logits = model(standardize(tiles).to(device))
        if not total.ndim:
            total = logits.new_zeros(1, logits.shape[1], height, width)
        for (y, x), one in zip(chosen, logits, strict=True):
            total[0, :, y : y + size, x : x + size] += weight * one
            weights[y : y + size, x : x + size] += weight
    return total / weights


def _label_map(logits: Tensor, shape: tuple[int, ...]) -> Mask:
    large = functional.interpolate(logits[None], size=shape, mode="bilinear", align_corners=False)
    return large[0].argmax(dim=0).to(torch.uint8).cpu().numpy()


def _weight(size: int) -> Tensor:
    """(size, size): 1 in the middle of a tile, falling in a straight line towards its edges."""
    places = (torch.arange(size) + 0.5) / size
    slope = 1 - (2 * places - 1).abs()
    return torch.outer(slope, slope)

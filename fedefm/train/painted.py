"""Pictures of what a masked autoencoder sees, paints and should have painted."""

import json
from collections.abc import Mapping
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fedefm.data.dataset import FrameDataset
from fedefm.data.masked import MaskedBatch
from fedefm.data.patches import cut, put_together
from fedefm.model.mae import MaskedAutoencoder
from fedefm.train.reconstruction import explained, masked_batch

CASES = {"best": 1.0, "median": 0.5, "worst": 0.0}  # by the share of images that score less
EACH = 2
HIDDEN = 0.5  # the gray of a hidden patch
GAP, SHOWN = 4, 160  # pixels between three pictures, and a side of each
SCORES = "scores.json"


@torch.inference_mode()
def draw_painted(
    folder: Path, model: MaskedAutoencoder, tests: Mapping[str, FrameDataset]
) -> list[Path]:
    """Write some of the best, the usual and the worst test images, with ``scores.json``.

    Each picture is what is seen, what is painted, and the truth, side by side. The names of files
    tell neither patient nor site.
    """
    frames = [(data, row) for data in tests.values() for row in range(len(data))]
    batches = [masked_batch(data.batch(torch.tensor([row]))) for data, row in frames]
    scores = np.array([float(explained(model, batch)) for batch in batches])
    folder.mkdir(parents=True, exist_ok=True)
    told, paths = [], []
    for case, places in _chosen(scores).items():
        for number, place in enumerate(places, start=1):
            path = folder / f"{case}_{number}.png"
            _picture(model, batches[place]).save(path)
            told.append({"file": path.name, "case": case, "explained": float(scores[place])})
            paths.append(path)
    (folder / SCORES).write_text(json.dumps({"images": told}, indent=2) + "\n")
    return paths


def _chosen(scores: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> dict[str, list[int]]:
    """The places of each case; no image in two of them."""
    order = np.argsort(scores, kind="stable").tolist()
    each = min(EACH, -(-len(order) // len(CASES)))
    chosen: dict[str, list[int]] = {}
    for case, share in CASES.items():
        begin = round(share * max(0, len(order) - each))
        chosen[case] = order[begin : begin + each]
        order = order[:begin] + order[begin + each :]
    return {case: places for case, places in chosen.items() if places}


def _picture(model: MaskedAutoencoder, batch: MaskedBatch) -> Image.Image:
    painted: Tensor = model(batch.images, batch.kept)
    truth = cut(batch.clean, isqrt(painted.shape[2]))
    spread, middle = torch.std_mean(truth, dim=2, correction=0, keepdim=True)
    guess = painted * spread + middle  # a model paints normalized patches
    hidden = torch.ones(truth.shape[1], dtype=torch.bool)
    hidden[batch.kept[0]] = False
    hidden = hidden[None, :, None]
    three = (torch.where(hidden, HIDDEN, truth), torch.where(hidden, guess, truth), truth)
    return _side_by_side([put_together(patches)[0, 0] for patches in three])


def _side_by_side(images: list[Tensor]) -> Image.Image:
    """Gray images in [0, 1], enlarged without smoothing, on white."""
    times = max(1, SHOWN // images[0].shape[-1])
    shown = [
        image.clamp(0, 1).repeat_interleave(times, 0).repeat_interleave(times, 1)
        for image in images
    ]
    gap = torch.ones(shown[0].shape[0], GAP)
    row = torch.cat([part for image in shown for part in (image, gap)][:-1], dim=1)
    return Image.fromarray((row * 255).round().to(torch.uint8).numpy())

"""Large frames: resized to the model's size, or cut into tiles of it? All data synthetic.

One U-Net is trained on whole frames resized to ``--size`` pixels, and one on tiles of as many
pixels cut from frames of ``--frame`` pixels, with equal steps. Both are then used on frames of new
patients at several sides: at the model's size a frame is resized and predicted whole, at a larger
one it is put together from overlapping tiles. Scores are at the frame's own resolution.

``python tests/benchmarks/tiling.py [--size 128] [--frame 512] [--steps 200] [--json PATH]``
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from fedefm.config import FinetuneConfig
from fedefm.data.dataset import FrameDataset
from fedefm.data.fluoroscopy import simulate_frame
from fedefm.finetune.checkpoint import TrainedSegmenter
from fedefm.finetune.mask_scores import score_masks
from fedefm.finetune.segment import Segmentation
from fedefm.finetune.start import Start
from fedefm.finetune.tiling import segment_large
from fedefm.finetune.training import finetune

CLASSES = ("background", "catheter", "guidewire")
DOMAINS = ("phantom", "cardiac")
TRAIN, TEST = range(20), range(20, 28)  # patients of each domain
FRAMES = 2  # of a patient
SEED = 11
SCORES = ("dice", "cldice", "hd95_px", "tip_px")


def frames(patients: range, side: int) -> FrameDataset:
    """Simulated frames of ``side`` pixels with masks."""
    made = [
        (simulate_frame(domain, SEED, FRAMES * patient + k, side, patient), patient + 1000 * d)
        for d, domain in enumerate(DOMAINS)
        for patient in patients
        for k in range(FRAMES)
    ]
    images = np.stack([np.rint(frame.image * 255).astype(np.uint8) for frame, _ in made])
    masks = np.stack([frame.mask for frame, _ in made])
    owners = torch.tensor([owner for _, owner in made])
    labels = torch.zeros_like(owners)
    return FrameDataset(
        torch.from_numpy(images)[:, None], labels, owners, CLASSES, torch.from_numpy(masks)
    )


def resized(data: FrameDataset, side: int) -> FrameDataset:
    """Whole frames at the model's size; a device of a pixel stays in the mask."""
    images = F.adaptive_avg_pool2d(data.images.float(), side).round().to(torch.uint8)
    assert data.masks is not None
    masks = F.adaptive_max_pool2d(data.masks.float(), side).to(torch.uint8)
    return FrameDataset(images, data.labels, data.patients, CLASSES, masks)


def measured(segmenter: TrainedSegmenter, test: FrameDataset, side: int) -> dict[str, Any]:
    """Scores over the test frames at their own resolution, and CPU seconds a frame."""
    assert test.masks is not None
    images = [one[0].numpy().astype(np.float32) / 255 for one in test.images]
    started = time.process_time()
    masks = np.stack(segment_large(segmenter, images, side))
    seconds = (time.process_time() - started) / len(images)
    scores = score_masks(masks, test.masks.numpy(), test.patients.numpy(), CLASSES[1:])
    found = {
        f"{score}_{name}": asdict(value)
        for score in SCORES
        for name, value in getattr(scores, score).items()
    }
    return {"side": side, **found, "seconds_a_frame": seconds}


def main() -> None:
    """Train both, print a line a side, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128, help="of the model's images, in pixels")
    parser.add_argument("--frame", type=int, default=512, help="of the frames, in pixels")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size, side = arguments.size, arguments.frame
    train, test = frames(TRAIN, side), frames(TEST, side)
    config = FinetuneConfig(steps=arguments.steps, batch_size=8, learning_rate=0.1)
    results = []
    for name, task, data in (
        ("whole frames", Segmentation(CLASSES), resized(train, size)),
        ("tiles", Segmentation(CLASSES, side), train),
    ):
        model = task.build(Start(None, "resnet_micro", size), seed=1)
        finetune(task, model, data, None, config, seed=1)
        for used in (size, (size + side) // 2, side):
            found = measured(TrainedSegmenter(model, CLASSES), test, used)
            results.append({"trained_on": name, **found})
            values = (f"{k} {v['value']:.3f}" for k, v in found.items() if isinstance(v, dict))
            print(
                f"trained on {name}, used at {used} px: {', '.join(values)}, "
                f"{found['seconds_a_frame']:.2f} s a frame",
                flush=True,
            )
    if arguments.json:
        told = {"label": "synthetic", "command": "python " + " ".join(sys.argv), "results": results}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()

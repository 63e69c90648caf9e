"""Large frames: resized to the model's size, or cut into tiles of it? All data synthetic.

One U-Net is trained on whole frames resized to ``--size`` pixels, and one on tiles of as many
pixels cut from frames of ``--frame`` pixels, with equal steps. Both are then used on frames of new
patients at several sides: at the model's size a frame is resized and predicted whole, at a larger
one it is put together from overlapping tiles. Scores are at the frame's own resolution.

Tiles are for wires: one of two pixels in the frame is half a pixel wide in the resized one. Means
and deviations are over seeds, which draw weights, batches and views; the JSON has every run with
intervals by patient.

``python tests/benchmarks/tiling.py [--quick] [--size 128] [--frame 512] [--steps 400]``
``[--seeds 0 1 2] [--json PATH]``
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Sequence
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
from fedefm.model.segmenter import Segmenter

CLASSES = ("background", "catheter", "guidewire")
DOMAINS = ("phantom", "cardiac")
TRAIN, TEST = range(20), range(20, 28)  # patients of each domain
FRAMES = 2  # of a patient
DATA_SEED = 11
SCORES = ("dice", "cldice", "hd95_px", "tip_px")
SEEDS = (0, 1, 2)
BATCH, RATE = 8, 0.1


def frames(patients: range, side: int) -> FrameDataset:
    """Simulated frames of ``side`` pixels with masks."""
    made = [
        (simulate_frame(domain, DATA_SEED, FRAMES * patient + k, side, patient), patient + 1000 * d)
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


def trained(
    name: str, size: int, train: FrameDataset, config: FinetuneConfig, seed: int
) -> Segmenter:
    """A segmenter that has learned from whole frames, or from tiles of them."""
    side = train.images.shape[-1]
    tiles = name == "tiles"
    task = Segmentation(CLASSES, side) if tiles else Segmentation(CLASSES)
    model = task.build(Start(None, "resnet_micro", size), seed)
    finetune(task, model, train if tiles else resized(train, size), None, config, seed)
    return model


def summarize(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each way of training and side of use: means and deviations over seeds."""
    rows = []
    for name, side in dict.fromkeys((run["trained_on"], run["side"]) for run in runs):
        same = [run for run in runs if (run["trained_on"], run["side"]) == (name, side)]
        row: dict[str, Any] = {"trained_on": name, "side": side}
        for score in [key for key, value in same[0].items() if isinstance(value, dict)]:
            values = [run[score]["value"] for run in same]
            spread = statistics.stdev(values) if len(values) > 1 else None
            row[score] = {"mean": statistics.mean(values), "std": spread}
        row["seconds_a_frame"] = statistics.median(run["seconds_a_frame"] for run in same)
        rows.append(row)
    return rows


def show(rows: Sequence[dict[str, Any]]) -> None:
    """The table on the terminal."""
    scores = [key for key, value in rows[0].items() if isinstance(value, dict)]
    print(f"{'trained on':>12} {'used at':>8} " + " ".join(f"{s:>18}" for s in scores) + "   s")
    for row in rows:
        cells = (
            f"{row[s]['mean']:.3f}" + ("" if row[s]["std"] is None else f" ± {row[s]['std']:.3f}")
            for s in scores
        )
        line = " ".join(f"{cell:>18}" for cell in cells)
        print(f"{row['trained_on']:>12} {row['side']:>8} {line} {row['seconds_a_frame']:.2f}")


def main() -> None:
    """Train both ways, print a line a side, write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small frames, few steps, one seed")
    parser.add_argument("--size", type=int, default=128, help="of the model's images, in pixels")
    parser.add_argument("--frame", type=int, default=512, help="of the frames, in pixels")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.size, arguments.frame = 64, 128
        arguments.steps, arguments.seeds = 20, SEEDS[:1]
    torch.set_num_threads(1)
    size, side = arguments.size, arguments.frame
    train, test = frames(TRAIN, side), frames(TEST, side)
    config = FinetuneConfig(steps=arguments.steps, batch_size=BATCH, learning_rate=RATE)
    runs: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        for name in ("whole frames", "tiles"):
            model = trained(name, size, train, config, seed)
            for used in (size, (size + side) // 2, side):
                found = measured(TrainedSegmenter(model, CLASSES), test, used)
                runs.append({"trained_on": name, "seed": seed, **found})
            print(f"seed {seed}, {name}: trained and used", flush=True)
    rows = summarize(runs)
    show(rows)
    if arguments.json:
        told = {
            "label": "synthetic",
            "command": "python " + " ".join(sys.argv),
            "results": rows,
            "runs": runs,
            "size": size,
            "frame": side,
            "training": config.model_dump() | {"frames": len(train)},
            "test_frames": len(test),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "threads": 1,
        }
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Batches and the training steps that they feed, in a process of its own.

``python _data_loader.py MANIFEST TASK ours|plain|workers STEPS THREADS``

``ours`` keeps frames in memory as 8 bit and varies whole batches. ``plain`` is PyTorch's DataLoader
with what most would write: each image is opened, decoded by Pillow and varied by torchvision when
it is wanted, in the same process. ``workers`` lets a process for each core do that ahead of the
steps. Prints JSON: medians of seconds of the clock and of this process' CPU, by step.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fedefm.data.dataset import Batch, FrameDataset, standardize
from fedefm.data.fluoroscopy import DOMAINS
from fedefm.data.manifest import Manifest, read_manifest
from fedefm.data.transforms import Transform
from fedefm.finetune.segment import Segmentation
from fedefm.finetune.start import Start
from fedefm.model.foundation import build_foundation
from fedefm.model.torchvision_fix import repair_torchvision
from fedefm.seeding import generator_for
from fedefm.train.objective import Objective, classification

CLASSES = ("background", "catheter", "guidewire")
KINDS = tuple(DOMAINS)
WARM = 3  # steps before any is counted


@dataclass(frozen=True)
class Training:
    """What is trained: classification without masks, segmentation with them."""

    size: int  # pixels
    batch: int
    masks: bool
    steps: int  # of a whole training, over which decoding is spread
    frame: int = 0  # pixels, where tiles of ``size`` are cut from larger frames


TRAININGS = {
    "demo, pre-training": Training(32, 64, False, 40 * 5),
    "demo, fine-tuning": Training(128, 4, True, 800),
    "256 px, fine-tuning": Training(256, 8, True, 800),
    "tiles of 128 of 512 px": Training(128, 8, True, 800, frame=512),
}


@dataclass(frozen=True)
class Prepared:
    """A model with what it minimizes, and how its images are varied."""

    model: nn.Module
    objective: Objective
    views: Transform | None


def prepare(training: Training) -> Prepared:
    """As ``fedefm demo`` does it, except that the steps are plain ones, which are faster."""
    if not training.masks:
        model = build_foundation("resnet_micro", KINDS, training.size, "frozen", 1)
        objective = classification(torch.ones(len(KINDS), dtype=torch.bool), 0.5)
        return Prepared(model, objective, None)
    task = Segmentation(CLASSES, training.frame or None)
    segmenter = task.build(Start(None, "resnet_micro", training.size), seed=1)
    return Prepared(segmenter, task.objective, task.augmentation(training.size))


def ours(
    manifest: Manifest, training: Training, prepared: Prepared
) -> tuple[Iterator[Batch], dict[str, float]]:
    """Decoded once; the seconds of that, for each frame and for all."""
    classes = CLASSES if training.masks else KINDS
    side = training.frame or training.size
    started, cpu = time.perf_counter(), time.process_time()
    data = FrameDataset.from_manifest(manifest, "train", classes, side, training.masks)
    decoding, spent = time.perf_counter() - started, time.process_time() - cpu
    rng = generator_for(1, "loader", 0, "batches")

    def batches() -> Iterator[Batch]:
        while True:
            rows = torch.randperm(len(data), generator=rng)[: training.batch]
            yield data.batch(rows, prepared.views, rng)

    count = len(data)
    return batches(), {
        "decoding_s": decoding,
        "decoding_s_per_frame": decoding / count,
        "decoding_cpu_s_per_frame": spent / count,
    }


class Files(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Image and mask, or image and class, decoded when they are asked for."""

    def __init__(self, manifest: Manifest, training: Training) -> None:
        self.rows = [manifest.rows[k] for k in manifest.of_split("train")]
        self.folder, self.training = manifest.folder, training
        self.views = _torchvision_views(training) if training.masks else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        row, side = self.rows[place], self.training.frame or self.training.size
        bilinear, nearest = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
        with Image.open(self.folder / row.path) as file:
            picture = file.convert("L").resize((side, side), bilinear)
        image = torch.from_numpy(np.array(picture))[None]
        if self.views is None:
            return image.float() / 255, torch.tensor(KINDS.index(row.corpus))
        with Image.open(self.folder / row.mask_path) as file:
            mask = torch.from_numpy(np.array(file.resize((side, side), nearest)))[None]
        return self.views(image, mask)


def _torchvision_views(training: Training) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The views of ``fedefm.finetune.augment``, as far as torchvision has them."""
    repair_torchvision()
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    crop = [v2.RandomCrop(training.size)] if training.frame else []
    views = v2.Compose(
        [
            *crop,
            v2.RandomResizedCrop(training.size, scale=(0.36, 1.0), ratio=(1.0, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomRotation(15, v2.InterpolationMode.BILINEAR),
            v2.ToDtype(torch.float32, scale=True),
            v2.ColorJitter(brightness=0.2, contrast=0.2),
            v2.GaussianNoise(0.0, 0.015),
        ]
    )

    def apply(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        seen, marked = views(tv_tensors.Image(image), tv_tensors.Mask(mask))
        return seen.as_subclass(Tensor), marked.as_subclass(Tensor)[0].long()

    return apply


def plain(manifest: Manifest, training: Training, workers: int) -> Iterator[Batch]:
    """PyTorch's DataLoader, over and over."""
    files = Files(manifest, training)
    loader = torch.utils.data.DataLoader(
        files,
        training.batch,
        sampler=torch.utils.data.RandomSampler(files, replacement=True, num_samples=10**6),
        num_workers=workers,
        drop_last=True,
    )
    rows = torch.arange(training.batch)
    for images, labels in loader:
        yield Batch(standardize(images), labels, rows)


def measure(batches: Iterator[Batch], prepared: Prepared, steps: int) -> dict[str, float]:
    """What a batch and the step that it feeds take, and both together from end to end."""
    step = stepper(prepared)
    for batch in islice(batches, WARM):
        step(batch)
    times: list[tuple[float, float, float, float]] = []
    begun = time.perf_counter()
    for _ in range(steps):
        started, cpu = time.perf_counter(), time.process_time()
        batch = next(batches)
        ready, cpu_ready = time.perf_counter(), time.process_time()
        step(batch)
        ended, cpu_ended = time.perf_counter(), time.process_time()
        times.append((ready - started, ended - ready, cpu_ready - cpu, cpu_ended - cpu_ready))
    batch_s, step_s, batch_cpu_s, step_cpu_s = map(statistics.median, zip(*times, strict=True))
    return {
        "batch_s": batch_s,
        "step_s": step_s,
        "batch_cpu_s": batch_cpu_s,
        "step_cpu_s": step_cpu_s,
        "loader_over_step": statistics.median(one[0] / one[1] for one in times),
        "both_s": (time.perf_counter() - begun) / steps,
    }


def stepper(prepared: Prepared) -> Callable[[Batch], None]:
    """The step of ``fedefm.train.trainer.PlainTrainer``."""
    model = prepared.model
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.01, momentum=0.9)
    model.train()

    def step(batch: Batch) -> None:
        losses = prepared.objective(model, batch)
        optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()

    return step


def main() -> None:
    path, name, way, steps, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    manifest, training = read_manifest(Path(path)), TRAININGS[name]
    prepared, decoding = prepare(training), {}
    if way == "ours":
        batches, decoding = ours(manifest, training, prepared)
    else:
        batches = plain(manifest, training, int(threads) if way == "workers" else 0)
    found = measure(batches, prepared, int(steps))
    if way == "ours":
        spread = decoding["decoding_s"] / training.steps
        found["with_decoding"] = (found["batch_s"] + spread) / found["step_s"]
    print(json.dumps(found | decoding))


if __name__ == "__main__":
    main()

"""The privacy benchmark's task: which of eight domains a piece of simulated fluoroscopy is from.

One frame a patient, 32 px crops cut as in ``_corpora_task``. Smaller tasks are parts of larger
ones, and all are tested on the same images.
"""

import os
from pathlib import Path

import torch
from _corpora_task import SIMULATED_SIZE, Task, _crop
from torch import Tensor

from fedefm.data.dataset import FrameDataset
from fedefm.data.fluoroscopy import DOMAINS, simulate_frame
from fedefm.data.manifest import Row
from fedefm.seeding import numpy_generator

SEED = 7
TESTED = {"validation": 50, "test": 100}  # patients of each domain
CLASSES = tuple(sorted(DOMAINS))
PART = 250  # frames that are drawn, and kept, at once


def load_fluoroscopy(patients: int, work: Path, thin: int = 1) -> Task:
    """The task with so many training patients of each domain; drawn once, kept in ``work``.

    ``thin`` divides how many frames are tested on, and drawn at once: for a taste.
    """
    counts = {split: count // thin for split, count in TESTED.items()} | {"train": patients}
    datasets = {split: _dataset(split, count, work, thin) for split, count in counts.items()}
    labels = datasets["train"].labels.tolist()
    rows = tuple(
        Row(path=str(i), patient_id=str(i), corpus=CLASSES[label], split="train")
        for i, label in enumerate(labels)
    )
    return Task(CLASSES, datasets, rows)


def _dataset(split: str, patients: int, work: Path, thin: int) -> FrameDataset:
    images = torch.cat([_images(domain, split, patients, work, thin) for domain in CLASSES])
    labels = torch.arange(len(CLASSES)).repeat_interleave(patients)
    return FrameDataset(images[:, None], labels, torch.arange(len(labels)), CLASSES)


def _images(domain: str, split: str, patients: int, work: Path, thin: int) -> Tensor:
    count = TESTED.get(split, PART) // thin
    parts = [_part(domain, split, start, count, work) for start in range(0, patients, count)]
    return torch.cat(parts)[:patients]


def _part(domain: str, split: str, start: int, count: int, work: Path) -> Tensor:
    """Patients ``start`` to ``start + count`` of one split; the splits share no frame."""
    path = work / f"{domain}-{split}-{start}.pt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = SEED + ("train", "validation", "test").index(split)
        crops = [_piece(domain, seed, index) for index in range(start, start + count)]
        part = path.with_suffix(f".{os.getpid()}")  # two processes may draw the same
        torch.save(torch.stack(crops), part)
        part.replace(path)
    return torch.load(path)


def _piece(domain: str, seed: int, index: int) -> Tensor:
    frame = simulate_frame(domain, seed, index, SIMULATED_SIZE).image
    return _crop(frame, numpy_generator(seed, "crop", domain, index))

"""The learning benchmark's task: tell sixteen kinds of medical images apart, 32 px crops.

Eight real corpora (the sample sets) and eight domains of the fluoroscopy simulator, near pairs on
purpose. Patients are divided into training, validation and test before anything is cut out; a crop
is a patient's image seen closer. What a site holds is decided by ``fedefm.data.corpora``.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fedefm.data.corpora import split_corpora
from fedefm.data.dataset import FrameDataset
from fedefm.data.fluoroscopy import DOMAINS, simulate_frame
from fedefm.data.layouts import collection
from fedefm.data.manifest import Manifest, Row
from fedefm.data.readers import read_image
from fedefm.data.splits import assign_splits
from fedefm.seeding import numpy_generator

SIZE = 32
CROPS = {"train": 300, "validation": 50, "test": 100}  # of each corpus
SHARE = {"train": 0.65, "validation": 0.15, "test": 0.2}  # of a corpus' images
MOST_IMAGES = 80  # of each corpus; the small ones have 9 to 28
SIMULATED_SIZE = 128
SIDE = (0.4, 0.9)  # of the image; small images are cut less
SMALL = 80  # px

Images = list[np.ndarray]


@dataclass(frozen=True)
class Task:
    """Every corpus' crops, by split, with the patient of each."""

    classes: tuple[str, ...]
    datasets: Mapping[str, FrameDataset]  # split -> all corpora
    rows: tuple[Row, ...]  # of the training crops, for dividing them between sites

    def sites(self, count: int, unseen: float, seed: int) -> dict[str, FrameDataset]:
        """The training images of each site."""
        division = split_corpora([Manifest(Path(), self.rows)], count, unseen, seed)
        return {
            site: self.datasets["train"].subset(torch.tensor([item.position for item in held]))
            for site, held in division.held.items()
        }


def load_task(data: Path, cache: Path, seed: int = 7, most_images: int = MOST_IMAGES) -> Task:
    """The task, from ``cache`` if it was built before; without ``data``, simulated domains only."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        torch.save(_build(data, seed, most_images), cache)
    images, labels, patients, classes = torch.load(cache, weights_only=False)
    datasets = {
        split: FrameDataset(images[split], labels[split], patients[split], classes)
        for split in CROPS
    }
    rows = tuple(
        Row(path=str(i), patient_id=str(int(p)), corpus=classes[int(c)], split="train")
        for i, (p, c) in enumerate(zip(patients["train"], labels["train"], strict=True))
    )
    return Task(classes, datasets, rows)


def _build(data: Path, seed: int, most_images: int) -> tuple[dict[str, Tensor], ...]:
    real = _real(data, seed, most_images) if data.is_dir() else {}
    corpora = {**real, **_simulated(seed, most_images)}
    classes = tuple(sorted(corpora))
    images: dict[str, list[Tensor]] = {split: [] for split in CROPS}
    labels: dict[str, list[int]] = {split: [] for split in CROPS}
    patients: dict[str, list[int]] = {split: [] for split in CROPS}
    number: dict[str, int] = {}
    for label, corpus in enumerate(classes):
        for split, count in CROPS.items():
            held = [(p, image) for p, s, image in corpora[corpus] if s == split]
            rng = numpy_generator(seed, corpus, split)
            for k in range(count):
                patient, image = held[k % len(held)]
                images[split].append(_crop(image, rng))
                labels[split].append(label)
                patients[split].append(number.setdefault(patient, len(number)))
    return (
        {split: torch.stack(crops)[:, None] for split, crops in images.items()},
        {split: torch.tensor(values) for split, values in labels.items()},
        {split: torch.tensor(values) for split, values in patients.items()},
        classes,
    )


def _real(data: Path, seed: int, most_images: int) -> dict[str, list[tuple[str, str, np.ndarray]]]:
    """``corpus -> (patient, split, image)``; corpora, not their classes, are the labels."""
    found = collection(data)
    rows = assign_splits([Row(str(f.image), f.frame, f.patient, f.corpus) for f in found], seed)
    corpora: dict[str, list[tuple[str, str, np.ndarray]]] = {}
    for corpus in sorted({row.corpus for row in rows}):
        mine = _at_most(most_images, [row for row in rows if row.corpus == corpus], seed)
        corpora[corpus] = [
            (row.patient_id, row.split, read_image(Path(row.path), row.frame)) for row in mine
        ]
    return corpora


def _at_most(count: int, rows: list[Row], seed: int) -> list[Row]:
    """``count`` of the rows, drawn evenly from the three splits, or all."""
    order = numpy_generator(seed, "images", rows[0].corpus).permutation(len(rows))
    place: Counter[str] = Counter()
    kept = []
    for row in (rows[i] for i in order):
        if place[row.split] < max(1, count * SHARE[row.split]):
            kept.append(row)
        place[row.split] += 1
    return kept


def _simulated(seed: int, most_images: int) -> dict[str, list[tuple[str, str, np.ndarray]]]:
    corpora = {}
    for domain in DOMAINS:
        rows = assign_splits(
            [Row("", i, f"{domain}-{i}", f"sim-{domain}") for i in range(most_images)], seed
        )
        corpora[f"sim-{domain}"] = [
            (row.patient_id, row.split, simulate_frame(domain, seed, i, SIMULATED_SIZE).image)
            for i, row in enumerate(rows)
        ]
    return corpora


def _crop(image: np.ndarray, rng: np.random.Generator) -> Tensor:
    height, width = image.shape
    low, high = SIDE if min(height, width) >= SMALL else (0.6, 0.95)
    side = int(min(height, width) * rng.uniform(low, high))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    window = Image.fromarray(image[top : top + side, left : left + side])
    small = np.asarray(window.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    low_value, high_value = small.min(), small.max()
    stretched = (small - low_value) / max(high_value - low_value, 1e-6)
    return torch.from_numpy(np.rint(stretched * 255).astype(np.uint8))

"""Tiny hospitals, and a run that they finish in seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedefm.data.manifest import Row, write_manifest

CLASSES = ["bars", "disk", "square"]
SPLITS = ("train", "train", "validation", "test")
SIZE, PATIENTS_OF_A_KIND = 16, 8
SITES = ("hosp-a", "hosp-B", "St-Marys", "hosp_d")  # as FLARE allows: letters, digits, - and _


def write_tiny_sites(folder: Path, sites: Sequence[str] = SITES) -> Path:
    """``folder/SITE/manifest.csv`` with 24 patients each."""
    rng = np.random.default_rng(0)
    for site in sites:
        place = folder / site
        place.mkdir(parents=True)
        kinds = [(kind, k) for kind in CLASSES for k in range(PATIENTS_OF_A_KIND)]
        write_manifest(place / "manifest.csv", [_row(place, kind, k, rng) for kind, k in kinds])
    return folder


def tiny_run(name: str = "tiny", **federation: Any) -> dict[str, Any]:
    """A run file's settings."""
    settings = {"rounds": 3, "local_steps": 1, "host_steps": 1, "expert_every": 2}
    return {
        "name": name,
        "model": {"backbone": "resnet_micro", "image_size": SIZE, "classes": CLASSES},
        "training": {"batch_size": 4, "decay_at": 1.0},
        "distill": {"pool": 2},
        "federation": {**settings, "evaluate_every": 2, "deadline_s": 20, **federation},
    }


def _row(place: Path, kind: str, number: int, rng: np.random.Generator) -> Row:
    ys, xs = np.mgrid[:SIZE, :SIZE]
    x, y = rng.uniform(5, 11, 2)
    shape = {
        "disk": (xs - x) ** 2 + (ys - y) ** 2 < 12,
        "square": (abs(xs - x) < 3) & (abs(ys - y) < 3),
        "bars": (xs + int(x)) % 4 < 2,
    }[kind]
    pixels = np.clip(shape * 0.7 + rng.normal(0.15, 0.05, (SIZE, SIZE)), 0, 1)
    path = f"{kind}-{number}.png"
    Image.fromarray((pixels * 255).astype("uint8")).save(place / path)
    patient, split = f"{place.name}-{kind}-{number}", SPLITS[number % len(SPLITS)]
    return Row(path, 0, patient, kind, kind, "", split, "")

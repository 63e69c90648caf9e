"""Seven domains of real images with tasks of three kinds, and who holds what of them.

Six domains are at a site each, two in each of three stages; skin is nowhere, neither at a site nor
in the public pool. Patients are divided once for each seed: a part is to be tested on, of the
others a part goes without labels to the server's pool, and the rest is the site's. The pool also
holds frames of an angiogram, of which nobody has labels.

Images are brought to the model's size once, and lie as PNG in every folder that needs them: the
runs read them as they would read a hospital's.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from fedefm.data.dataset import resize_image
from fedefm.data.found import Found
from fedefm.data.layouts import collection
from fedefm.data.manifest import Row, write_manifest
from fedefm.data.readers import read_image, read_mask
from fedefm.data.transforms import DEVICE_SHARE
from fedefm.seeding import numpy_generator

SIZE = 64
POOL_ONLY = "xa-fluoroscopy"
POOL_FRAMES = 24
CIRCUMFERENCES = "hc18-fetal-head/training_set_pixel_size_and_HC.csv"
SHARES = {"judged": 0.3, "pool": 0.25}  # of a domain's patients; of those left
Parts = Mapping[str, Sequence["Picture"]]  # judged, pool, train


@dataclass(frozen=True)
class Domain:
    """A kind of images, and what is to be told of them."""

    name: str
    corpus: str
    stage: int | None  # None: unseen
    kind: str
    classes: tuple[str, ...] = ()
    span: tuple[float, float] = (0.0, 1.0)  # of regression

    @property
    def task(self) -> dict[str, object]:
        """As a run file has it."""
        if self.kind == "regression":
            return {"kind": self.kind, "lowest": self.span[0], "highest": self.span[1]}
        return {"kind": self.kind, "classes": list(self.classes)}

    @property
    def measure(self) -> str:
        """What its scores are; at most 1, the larger the better."""
        names = {"classification": "AUROC", "segmentation": "Dice"}
        return names.get(self.kind, "1 - error")


DOMAINS = (
    Domain("retina", "chase-db1", 0, "segmentation", ("background", "vessel")),
    Domain("fluorescence", "dsb2018-fluorescence", 0, "segmentation", ("background", "nucleus")),
    Domain("fetal-head", "hc18-fetal-head", 1, "regression", span=(40.0, 350.0)),  # mm
    Domain("chest", "nih-cxr", 1, "classification", ("No_findings", "Pneumonia")),
    Domain("histology", "dsb2018-histology", 2, "segmentation", ("background", "nucleus")),
    Domain(
        "hippocampus",
        "msd-hippocampus",
        2,
        "segmentation",
        ("background", "anterior", "posterior"),
    ),
    Domain("skin", "isic-skin", None, "segmentation", ("background", "lesion")),
)
SEEN = tuple(domain for domain in DOMAINS if domain.stage is not None)


@dataclass(frozen=True)
class Picture:
    """One image at the model's size."""

    patient: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None
    label: str


def load_pictures(data: Path, cache: Path) -> dict[str, list[Picture]]:
    """All images by corpus, from ``cache`` if they were made before."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        torch.save(_pictures(data), cache)
    found: dict[str, list[Picture]] = torch.load(cache, weights_only=False)
    return found


def _pictures(data: Path) -> dict[str, list[Picture]]:
    wanted = {domain.corpus: domain.kind for domain in DOMAINS} | {POOL_ONLY: ""}
    lengths, found = _circumferences(data), sorted(collection(data), key=lambda f: f.corpus)
    return {
        corpus: [_picture(item, wanted[corpus], lengths) for item in group]
        for corpus, group in groupby(found, key=lambda f: f.corpus)
        if corpus in wanted
    }


def _circumferences(data: Path) -> dict[str, str]:
    """Millimeters, by file name."""
    with (data / CIRCUMFERENCES).open(encoding="utf-8", newline="") as file:
        return {
            row["filename"]: row["head circumference (mm)"].strip() for row in csv.DictReader(file)
        }


def _picture(item: Found, kind: str, lengths: Mapping[str, str]) -> Picture:
    image = resize_image(read_image(item.image, item.frame), SIZE).numpy()
    mask = None
    if kind == "segmentation" and item.mask is not None:
        values = read_mask(item.mask, item.frame)
        mask = _resized(np.minimum(values, 1) if item.instances else values)
    label = lengths[item.image.name] if kind == "regression" else item.label
    return Picture(item.person, image, mask, label)


def _resized(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Each new pixel gets the class that has most of it, and at least a ``DEVICE_SHARE``.

    The loader's way, the largest value within a pixel, keeps every wire. Of a retina at this size
    it would make one vessel that covers a third of the image.
    """
    classes = functional.one_hot(torch.from_numpy(values)).permute(2, 0, 1).float()
    shares = functional.adaptive_avg_pool2d(classes, SIZE)[1:]
    if len(shares) == 0:
        return np.zeros((SIZE, SIZE), np.uint8)
    most, which = shares.max(dim=0)
    return torch.where(most >= DEVICE_SHARE, which + 1, 0).to(torch.uint8).numpy()


def divided(pictures: Sequence[Picture], domain: Domain, seed: int, explore: bool) -> Parts:
    """Who is judged, in the pool and at the site. The unseen domain has no pool.

    To ``explore`` settings, those who would be judged are left out, and others of them taken.
    """
    people = sorted({picture.patient for picture in pictures})
    order = numpy_generator(seed, "divide", domain.name).permutation(len(people))
    people = [people[k] for k in order]
    judged, rest = _cut(people, SHARES["judged"])
    if explore:
        judged, rest = _cut(rest, SHARES["judged"])
    pool, train = _cut(rest, 0.0 if domain.stage is None else SHARES["pool"])
    return {
        name: [picture for picture in pictures if picture.patient in set(some)]
        for name, some in (("judged", judged), ("pool", pool), ("train", train))
    }


def _cut(people: list[str], share: float) -> tuple[list[str], list[str]]:
    count = round(share * len(people))
    return people[:count], people[count:]


def write_world(
    folder: Path, pictures: Mapping[str, Sequence[Picture]], seed: int, explore: bool
) -> None:
    """``folder/pool`` of the server, ``folder/sites`` of the stages, ``folder/judged`` of all.

    ``pool`` is a sites folder of its own, for the server to train on. At a site those who are
    judged stand as validation, by which it measures after each stage, and by which nothing is
    chosen. ``judged`` has a manifest of each domain to fine-tune with and be tested by.
    """
    parts = {d.name: divided(pictures[d.corpus], d, seed, explore) for d in DOMAINS}
    pool = [picture for domain in SEEN for picture in parts[domain.name]["pool"]]
    pool += _spread(pictures.get(POOL_ONLY, ()), POOL_FRAMES)
    _write_pool(folder / "pool" / "public", pool)
    for domain in DOMAINS:
        here = {"train": parts[domain.name]["train"]}
        judged = parts[domain.name]["judged"]
        _write(folder / "judged" / domain.name, domain, {**here, "test": judged})
        if domain.stage is not None:
            site = folder / "sites" / domain.name
            _write(site, domain, {**here, "validation": judged})
            _write_site_file(site)


def _spread(pictures: Sequence[Picture], count: int) -> list[Picture]:
    return [pictures[k] for k in range(0, len(pictures), max(1, len(pictures) // count))][:count]


def _write_pool(folder: Path, pool: Sequence[Picture]) -> None:
    """Pictures and nothing else: neither label nor mask, nor which domain they are of."""
    folder.mkdir(parents=True)
    rows = []
    for number, picture in enumerate(pool):
        Image.fromarray(picture.image).save(folder / f"{number:04}.png")
        rows.append(Row(f"{number:04}.png", 0, f"person-{number}", "pool", "", "", "train"))
    write_manifest(folder / "manifest.csv", rows)
    _write_site_file(folder, unlabeled=True)  # a run refuses it if there are any


def _write(folder: Path, domain: Domain, splits: Parts) -> None:
    folder.mkdir(parents=True)
    write_manifest(folder / "manifest.csv", _placed(folder, domain, splits))


def _placed(folder: Path, domain: Domain, splits: Parts) -> Iterator[Row]:
    for split, pictures in splits.items():
        for number, picture in enumerate(pictures):
            name, mask = f"{split}-{number:04}", ""
            Image.fromarray(picture.image).save(folder / f"{name}.png")
            if picture.mask is not None:
                mask = f"{name}-mask.png"
                Image.fromarray(picture.mask).save(folder / mask)
            person = f"{domain.name}-{picture.patient}"
            yield Row(f"{name}.png", 0, person, domain.name, picture.label, mask, split)


def _write_site_file(folder: Path, unlabeled: bool = False) -> None:
    entry = {"manifest": "manifest.csv", "unlabeled": unlabeled}
    told = {"datasets": {"images": entry}, "ledger": "ledger.sqlite"}
    (folder / "fedefm_site.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")

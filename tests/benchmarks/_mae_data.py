"""Two domains of real images, fetal heads in ultrasound and chest X-rays, and who holds whom.

The sample sets are ingested as a hospital would do it, their patients divided once into training,
validation and test, and the patients of each split dealt to sites. A site has one domain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from fedefm.config.names import UNLABELED
from fedefm.data.corpora import Division, Held
from fedefm.data.dataset import FrameDataset
from fedefm.data.ingest import ingest
from fedefm.data.manifest import SPLITS, Manifest, read_manifest
from fedefm.data.splits import assign_splits
from fedefm.seeding import numpy_generator

ULTRASOUND, CHEST = "ultrasound", "chest"
FOLDERS = {ULTRASOUND: "hc18-fetal-head", CHEST: "nih-cxr-mini"}  # of the sample sets, and layouts
CLASSES = ("background", "fetal_head")
SPLIT_SEED = 7
KEY = bytes(32)  # public images: the same pseudonyms, and so the same split, wherever this runs


@dataclass(frozen=True)
class Images:
    """Manifests by domain, and every split's frames; those of ultrasound with masks."""

    manifests: Mapping[str, Manifest]
    frames: Mapping[tuple[str, str], FrameDataset]

    def unmarked(self, domain: str, split: str) -> FrameDataset:
        """The frames alone, as pre-training gets them."""
        held = self.frames[domain, split]
        none = torch.zeros(len(held), dtype=torch.int64)
        return FrameDataset(held.images, none, held.patients, (UNLABELED,))

    def sites(self, count: int, seed: int) -> dict[str, FrameDataset]:
        """The training images of each site."""
        found = {}
        for site, held in divide(self.manifests, count, seed).held.items():
            domain = domain_of(site)
            places = {row: k for k, row in enumerate(self.manifests[domain].of_split("train"))}
            rows = [places[one.position] for one in held if one.row.split == "train"]
            found[site] = self.unmarked(domain, "train").subset(torch.tensor(rows))
        return found


def is_there(data: Path) -> bool:
    """Whether both sample sets are."""
    return all((data / folder).is_dir() for folder in FOLDERS.values())


def take_in(data: Path, work: Path) -> dict[str, Manifest]:
    """Ingest both sets, unless that was done; their manifests, with splits."""
    manifests = {}
    for domain, name in FOLDERS.items():
        folder = work / "ingested" / name
        if not (folder / "manifest.csv").exists():
            ingest(data / name, folder, layout=name, key=KEY)
        found = read_manifest(folder / "manifest.csv")
        manifests[domain] = Manifest(found.folder, tuple(assign_splits(found.rows, SPLIT_SEED)))
    return manifests


@lru_cache(maxsize=1)
def load(data: Path, work: Path, size: int) -> Images:
    """Everything decoded at ``size`` pixels; once in a process."""
    manifests = take_in(data, work)
    return Images(
        manifests,
        {
            (domain, split): FrameDataset.from_manifest(
                manifest,
                split,
                CLASSES if domain == ULTRASOUND else (UNLABELED,),
                size,
                masks=domain == ULTRASOUND,
            )
            for domain, manifest in manifests.items()
            for split in SPLITS
        },
    )


def site_names(domain: str, sites: int) -> tuple[str, ...]:
    """Half of the sites have one domain, half the other."""
    return tuple(f"{domain}-{number}" for number in range(1, sites // len(FOLDERS) + 1))


def domain_of(site: str) -> str:
    """What a site's name says that it has."""
    return site.rpartition("-")[0]


def divide(manifests: Mapping[str, Manifest], sites: int, seed: int) -> Division:
    """Deal each split's patients to the sites of their domain, as evenly as they go."""
    held: dict[str, tuple[Held, ...]] = {}
    for source, (domain, manifest) in enumerate(manifests.items()):
        names = site_names(domain, sites)
        homes: dict[str, str] = {}
        for split in SPLITS:
            patients = sorted({row.patient_id for row in manifest.rows if row.split == split})
            order = numpy_generator(seed, "sites", domain, split).permutation(len(patients))
            homes |= {patients[k]: names[turn % len(names)] for turn, k in enumerate(order)}
        rows = [Held(source, k, row, domain) for k, row in enumerate(manifest.rows)]
        held |= {
            name: tuple(one for one in rows if homes[one.row.patient_id] == name) for name in names
        }
    private = {site: (domain_of(site),) for site in held}
    return Division(1.0, seed, (), private, held, left_out=0)

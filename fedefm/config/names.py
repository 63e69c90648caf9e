"""What a run file may name: backbones that are built here, and datasets as sites call them.

What is known of backbones here stands apart from the networks, which load slowly: a run file is
refused before anything else is loaded.
"""

import re
from typing import Literal

BACKBONE_NAMES = (  # of ``fedefm.model.foundation``, in its order
    "vit_micro",
    "vit_tiny",
    "vit_small",
    "vit_base",
    "vit_large",
    "resnet_micro",
    "resnet10",
    "resnet18",
    "resnet34",
    "resnet50",
)
ScanMode = Literal["linear", "convex"]  # by which kind of probe ultrasound was taken
UNLABELED = "image"  # the kind of every image where no kinds are told apart
PATCHES = {  # sides in pixels
    "vit_micro": 8,
    "vit_tiny": 16,
    "vit_small": 16,
    "vit_base": 16,
    "vit_large": 16,
}
_DATASET = re.compile(r"\w[\w.-]*")


def known_backbone(name: str) -> str:
    """``name``. Raises ValueError where no backbone is called so."""
    if name not in BACKBONE_NAMES:
        raise ValueError(f"{name!r} is unknown; choose one of {', '.join(BACKBONE_NAMES)}")
    return name


def check_image_size(backbone: str, pixels: int) -> None:
    """Raises ValueError where images of this side cannot be cut into the backbone's patches."""
    patch = PATCHES.get(backbone, 1)
    if pixels % patch:
        raise ValueError(
            f"image_size {pixels} is not a multiple of the patch of {backbone}, {patch} pixels; "
            f"use {max(1, round(pixels / patch)) * patch}, for example"
        )


def dataset_name(name: str) -> str:
    """``name``. Raises ValueError where it can be no dataset's, as a path cannot."""
    if not _DATASET.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name of a dataset; name it as the sites' own files do, with letters, "
            "digits, . _ - and never by a path"
        )
    return name

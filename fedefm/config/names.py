"""What a run file may name: backbones that are built here, and datasets as sites call them.

The names of backbones stand apart from the networks behind them, which load slowly: a run file is
refused before anything else is loaded.
"""

import re

BACKBONE_NAMES = (  # of ``fedefm.model.foundation``, in its order
    "vit_micro",
    "vit_tiny",
    "vit_small",
    "vit_base",
    "resnet_micro",
    "resnet10",
    "resnet18",
    "resnet34",
    "resnet50",
)
_DATASET = re.compile(r"\w[\w.-]*")


def known_backbone(name: str) -> str:
    """``name``. Raises ValueError where no backbone is called so."""
    if name not in BACKBONE_NAMES:
        raise ValueError(f"{name!r} is unknown; choose one of {', '.join(BACKBONE_NAMES)}")
    return name


def dataset_name(name: str) -> str:
    """``name``. Raises ValueError where it can be no dataset's, as a path cannot."""
    if not _DATASET.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name of a dataset; name it as the sites' own files do, with letters, "
            "digits, . _ - and never by a path"
        )
    return name

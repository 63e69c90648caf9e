"""The foundation model: a backbone, and a head over the union of all sites' labels.

Every site builds it alone from the same few settings and gets the same numbers, so nothing has to
be sent before the first round.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedefm.errors import ModelError
from fedefm.model.backbone import Backbone
from fedefm.model.checkpoint import load_checkpoint, read_checkpoint_info
from fedefm.model.resnet import RESNET_SIZES, MicroResNet, ResNet
from fedefm.model.vit import VIT_SIZES, VisionTransformer
from fedefm.seeding import own_global_stream, stream_seed

HeadKind = Literal["trainable", "frozen"]
BACKBONES = (*VIT_SIZES, "resnet_micro", *RESNET_SIZES)
FROZEN_SCALE = 3.0  # measured to learn best when corpora differ between sites


class FoundationModel(nn.Module):
    """Backbone, pooling and head. ``forward`` gives the logits.

    Features are averaged over the places of the image and normalized per sample before the head.
    """

    def __init__(
        self, backbone: Backbone, head: nn.Module, classes: Sequence[str], info: dict[str, str]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.classes = tuple(classes)
        self.info = dict(info)  # what build_foundation needs to make this model again

    def dense_features(self, x: Tensor) -> Tensor:
        """Features ``(B, h, w, C)`` of gray images ``(B, 1, H, W)``."""
        return self.backbone.dense_features(x)

    def logits(self, x: Tensor) -> Tensor:
        """Class scores ``(B, K)`` of gray images ``(B, 1, H, W)``, K = len(classes)."""
        return self.features_and_logits(x)[1]

    def features_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``dense_features`` and ``logits`` from one forward pass."""
        features = self.dense_features(x)
        return features, self.head(pooled(features))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x)


class FrozenHead(nn.Module):
    """Orthonormal rows times three, never trained: a class has the same direction everywhere."""

    weight: Tensor

    def __init__(self, feature_dim: int, classes: int) -> None:
        super().__init__()
        if classes > feature_dim:
            raise ModelError(
                f"{classes} classes need as many orthogonal directions, but the backbone has only "
                f"{feature_dim} features; use a trainable head or a wider backbone"
            )
        rows = nn.init.orthogonal_(torch.empty(classes, feature_dim))
        self.register_buffer("weight", FROZEN_SCALE * rows)

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight)


def build_foundation(
    backbone: str, classes: Sequence[str], image_size: int, head: HeadKind, seed: int
) -> FoundationModel:
    """A fresh foundation model; the same arguments give the same weights in every process.

    Args:
        backbone: one of ``BACKBONES``.
        classes: the union of all sites' labels, in one order for all.
        image_size: side of the square images, in pixels.
        head: ``trainable``, or ``frozen`` (orthogonal, no parameters).
        seed: names the random weights.

    Raises:
        ModelError: for an unknown backbone, a size that does not fit it, or classes that are
            missing or named twice.
    """
    _check_classes(classes)
    info = {
        "backbone": backbone,
        "classes": json.dumps(list(classes)),
        "image_size": str(image_size),
        "head": head,
        "seed": str(seed),
    }
    with own_global_stream():
        torch.manual_seed(stream_seed(seed, "backbone"))
        body = build_backbone(backbone, image_size)
        torch.manual_seed(stream_seed(seed, "head"))
        return FoundationModel(body, _build_head(head, body, len(classes)), classes, info)


def read_foundation(path: Path) -> FoundationModel:
    """The model that ``save_checkpoint(path, model, model.info)`` wrote.

    Raises:
        ModelError: if the file cannot be read or holds no foundation model.
    """
    info = read_checkpoint_info(path)
    try:
        classes, size, seed = (
            json.loads(info["classes"]),
            int(info["image_size"]),
            int(info["seed"]),
        )
        backbone, head = info["backbone"], cast(HeadKind, info["head"])
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"checkpoint {path} does not say how its foundation model is built ({error}); "
            "give one that 'fedefm run' wrote"
        ) from None
    model = build_foundation(backbone, classes, size, head, seed)
    load_checkpoint(path, model, minimum=1.0)
    return model


def build_backbone(name: str, image_size: int) -> Backbone:
    """The backbone called ``name`` with fresh weights from torch's global generator.

    Raises:
        ModelError: for a name that is not in ``BACKBONES`` or a size that does not fit it.
    """
    if name in VIT_SIZES:
        return VisionTransformer(VIT_SIZES[name], image_size)
    if name in RESNET_SIZES:
        return ResNet(RESNET_SIZES[name])
    if name == "resnet_micro":
        return MicroResNet()
    raise ModelError(f"backbone {name!r} is unknown; choose one of {', '.join(BACKBONES)}")


def pooled(features: Tensor) -> Tensor:
    """Dense features ``(B, h, w, C)`` averaged over places, normalized per sample: ``(B, C)``."""
    return F.layer_norm(features.mean(dim=(1, 2)), features.shape[-1:])


def _build_head(kind: HeadKind, backbone: Backbone, classes: int) -> nn.Module:
    if kind == "trainable":
        return nn.Linear(backbone.feature_dim, classes)
    if kind == "frozen":
        return FrozenHead(backbone.feature_dim, classes)
    raise ModelError(f"head {kind!r} is unknown; choose 'trainable' or 'frozen'")


def _check_classes(classes: Sequence[str]) -> None:
    if not classes:
        raise ModelError(
            "a foundation model needs at least one class; the list of classes is empty"
        )
    twice = sorted({name for name in classes if list(classes).count(name) > 1})
    if twice:
        raise ModelError(f"classes named twice: {', '.join(twice)}; each label may stand only once")

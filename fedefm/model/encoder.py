"""An encoder by itself: what sites with different tasks have in common, without their heads."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedefm.errors import ModelError
from fedefm.model.backbone import Backbone
from fedefm.model.checkpoint import load_checkpoint, read_checkpoint_info
from fedefm.model.foundation import build_backbone
from fedefm.seeding import own_global_stream, stream_seed

KIND = "encoder"


class Encoder(nn.Module):
    """A backbone under the name ``backbone``, as every model that is trained here has it."""

    def __init__(self, backbone: Backbone, info: dict[str, str]) -> None:
        super().__init__()
        self.backbone = backbone
        self.info = dict(info)  # what build_encoder needs to make this model again

    def dense_features(self, x: Tensor) -> Tensor:
        """Features ``(B, h, w, C)`` of gray images ``(B, 1, H, W)``."""
        return self.backbone.dense_features(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense_features(x)


def build_encoder(backbone: str, image_size: int, seed: int) -> Encoder:
    """A fresh encoder; the same numbers as the backbone of a foundation model with these arguments.

    Raises:
        ModelError: for an unknown backbone, or a size that does not fit it.
    """
    info = {"kind": KIND, "backbone": backbone, "image_size": str(image_size), "seed": str(seed)}
    with own_global_stream():
        torch.manual_seed(stream_seed(seed, "backbone"))
        return Encoder(build_backbone(backbone, image_size), info)


def is_encoder(info: dict[str, str]) -> bool:
    """Whether the facts of a checkpoint are those of an encoder."""
    return info.get("kind") == KIND


def read_encoder(path: Path) -> Encoder:
    """The encoder that ``save_checkpoint(path, encoder, encoder.info)`` wrote.

    Raises:
        ModelError: if the file cannot be read or holds no encoder.
    """
    info = read_checkpoint_info(path)
    if not is_encoder(info):
        raise ModelError(f"checkpoint {path} holds no encoder; train one in stages first")
    try:
        backbone, size, seed = info["backbone"], int(info["image_size"]), int(info["seed"])
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"checkpoint {path} does not say how its encoder is built ({error}); train it anew"
        ) from None
    model = build_encoder(backbone, size, seed)
    load_checkpoint(path, model, minimum=1.0)
    return model


def unit_features(dense: Tensor) -> Tensor:
    """Dense features ``(B, h, w, C)`` averaged over places, each of length 1: ``(B, C)``."""
    return F.normalize(dense.mean(dim=(1, 2)), dim=1)

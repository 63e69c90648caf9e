"""Segmentation networks on a foundation model's backbone: U-Net on ResNets, DPT on ViTs.

The decoders are those of segmentation-models-pytorch, fed by our backbones directly: its own
encoders hide their parameters from Opacus' hooks. Both decode to full resolution with the image
itself as the last skip connection, because catheters and guidewires are one to three pixels wide.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from fedefm.errors import ModelError
from fedefm.model.backbone import Backbone
from fedefm.model.checkpoint import (
    ENOUGH,
    MatchReport,
    fill,
    load_checkpoint,
    read_checkpoint,
    read_checkpoint_info,
)
from fedefm.model.foundation import FoundationModel, build_backbone
from fedefm.model.pretrained import fitted
from fedefm.model.vit import VisionTransformer
from fedefm.seeding import own_global_stream, stream_seed

KIND = "segmenter"
_BACKBONE = "backbone."


class Segmenter(nn.Module):
    """Backbone, decoder and head: images ``(B, 1, H, W)`` to logits ``(B, K, H, W)``."""

    def __init__(
        self, backbone: Backbone, decoder: nn.Module, head: nn.Module, info: dict[str, str]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.head = head
        self.info = dict(info)  # what build_segmenter needs to make this model again

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decoder(x, self.backbone.pyramid(x)))
        return logits


def build_segmenter(backbone: str, num_classes: int, image_size: int, seed: int) -> Segmenter:
    """A fresh segmenter; the same arguments give the same weights in every process.

    Args:
        backbone: one of ``fedefm.model.foundation.BACKBONES``.
        num_classes: K, background included.
        image_size: side of the square images, in pixels.
        seed: names the random weights.

    Raises:
        ModelError: for an unknown backbone, fewer than two classes or a size that does not fit.
    """
    from fedefm.model.decoders import dpt_decoder, pixel_head, unet_decoder  # imports smp: seconds

    if num_classes < 2:
        raise ModelError(
            f"a segmenter with {num_classes} classes has nothing to tell apart; "
            "count the background, so use at least 2"
        )
    info = {
        "kind": KIND,
        "backbone": backbone,
        "num_classes": str(num_classes),
        "image_size": str(image_size),
        "seed": str(seed),
    }
    with own_global_stream():
        torch.manual_seed(stream_seed(seed, "backbone"))
        body = build_backbone(backbone, image_size)
        torch.manual_seed(stream_seed(seed, "decoder"))
        decoder = dpt_decoder(body) if isinstance(body, VisionTransformer) else unet_decoder(body)
        return Segmenter(body, decoder, pixel_head(num_classes), info)


def load_foundation(
    model: Segmenter | FoundationModel, path: Path, minimum: float = ENOUGH
) -> MatchReport:
    """Start the backbone of ``model`` from a foundation model's checkpoint.

    Position embeddings of another image size are interpolated.

    Raises:
        ModelError: if the file cannot be read, is of another backbone, or fills less than
            ``minimum`` of this one; the model is unchanged then.
    """
    tensors, info = read_checkpoint(path)
    ours, theirs = model.info["backbone"], info.get("backbone", "unknown")
    if theirs != ours:
        raise ModelError(
            f"checkpoint {path} is of backbone {theirs!r}, the model is built on {ours!r}; "
            "build it on the checkpoint's backbone or choose another checkpoint"
        )
    body = {n.removeprefix(_BACKBONE): t for n, t in tensors.items() if n.startswith(_BACKBONE)}
    return fill(model.backbone, body, f"checkpoint {path}", minimum, adapt=fitted)


def read_segmenter(path: Path) -> Segmenter:
    """The segmenter that ``save_checkpoint(path, segmenter, segmenter.info)`` wrote.

    Raises:
        ModelError: if the file cannot be read or holds no segmenter.
    """
    info = read_checkpoint_info(path)
    if info.get("kind") != KIND:
        raise ModelError(f"checkpoint {path} holds no segmenter; fine-tune one from it first")
    try:
        classes, size, seed = (int(info[key]) for key in ("num_classes", "image_size", "seed"))
        backbone = info["backbone"]
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"checkpoint {path} does not say how its segmenter is built ({error}); "
            "fine-tune it anew"
        ) from None
    segmenter = build_segmenter(backbone, classes, size, seed)
    load_checkpoint(path, segmenter, minimum=1.0)
    return segmenter

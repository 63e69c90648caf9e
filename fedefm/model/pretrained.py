"""Fits tensors from elsewhere to our backbones: public ones, and ours at another image size."""

import re
from pathlib import Path

from torch import Tensor

from fedefm.model.backbone import Backbone
from fedefm.model.checkpoint import ENOUGH, MatchReport, Tensors, fill, read_checkpoint

_NOT_OURS = re.compile(r"(head|fc)\.|.*(running_mean|running_var|num_batches_tracked)$")


def load_public_weights(backbone: Backbone, path: Path, minimum: float = ENOUGH) -> MatchReport:
    """Fill ``backbone`` from a safetensors file of timm's or torchvision's weights for it.

    Color filters are summed over the channels (a gray image is one whose channels are equal),
    positions are interpolated to our grid, and BatchNorm's scale and shift become GroupNorm's.
    Features equal timm's for ``vit_*_patch16`` and ``resnet*_gn``; with weights made under
    BatchNorm they do not, and the backbone needs more training.

    Raises:
        ModelError: if the file cannot be read, or is of another network.
    """
    tensors, _ = read_checkpoint(path)
    return fill(backbone, translated(tensors), f"weights {path}", minimum, adapt=fitted)


def translated(tensors: Tensors) -> Tensors:
    """Public tensors under our names, without classifier and running statistics."""
    return {_our_name(name): t for name, t in tensors.items() if not _NOT_OURS.match(name)}


def fitted(name: str, tensor: Tensor, target: Tensor) -> Tensor:
    """``tensor`` made to fit ``target`` where that has a meaning, or as it is."""
    if name.endswith("pos_embed") and tensor.ndim == 3 and tensor.shape[2] == target.shape[2]:
        return _resampled(tensor, target)
    if tensor.ndim == 4 and target.ndim == 4 and target.shape[1] == 1:
        return tensor.sum(dim=1, keepdim=True)
    return tensor


def _our_name(name: str) -> str:
    if name in ("cls_token", "pos_embed"):
        return f"tokens.{name}"
    return re.sub(r"\bbn(\d)", r"norm\1", name)


def _resampled(positions: Tensor, target: Tensor) -> Tensor:
    """Position embeddings ``(1, 1 + n, C)`` interpolated to the grid of ``target``."""
    from timm.layers.pos_embed import resample_abs_pos_embed  # slow to import, rarely needed

    side = round((target.shape[1] - 1) ** 0.5)
    resampled: Tensor = resample_abs_pos_embed(positions, [side, side], num_prefix_tokens=1)
    return resampled

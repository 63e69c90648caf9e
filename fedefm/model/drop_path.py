"""Stochastic depth: while training, an image now and then goes around a branch of a block.

Huang et al., ECCV 2016 (arXiv 1603.09382), as timm and MAE's fine-tuning have it. Attention and
perceptron of a block each have a draw of their own, the chance rises in a straight line from 0 in
the first block, and what is not left out is scaled up, so that its mean stays.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fedefm.errors import ModelError
from fedefm.model.vit import Block, VisionTransformer

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]


@contextmanager
def drop_path(model: nn.Module, rate: float, rng: torch.Generator) -> Iterator[None]:
    """Within this context the blocks of ``model`` have stochastic depth, in training mode alone.

    The branches are hooked, so the model itself, its names and its checkpoint stay as they are.
    Each image of a batch has its own draws from ``rng``.

    Args:
        rate: chance in [0, 1) of leaving out a branch of the last block; 0 changes nothing.
    Raises:
        ModelError: the backbone of ``model`` is no ViT, whose blocks alone can be gone around.
    """
    handles: list[RemovableHandle] = []
    try:
        if rate > 0:
            blocks = _blocks(model)
            for block, share in zip(blocks, drop_rates(rate, len(blocks)), strict=True):
                drop = _dropping(share, rng)
                handles += [part.register_forward_hook(drop) for part in (block.attn, block.mlp)]
        yield
    finally:
        for handle in handles:
            handle.remove()


def drop_rates(rate: float, depth: int) -> list[float]:
    """The chance of each of ``depth`` blocks: from 0 to ``rate`` in a straight line."""
    return [rate * place / max(1, depth - 1) for place in range(depth)]


def _dropping(share: float, rng: torch.Generator) -> Hook:
    def drop(branch: nn.Module, images: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not branch.training or share == 0:
            return output
        kept = (torch.rand(len(output), generator=rng) >= share) / (1 - share)
        return output * kept.to(output).view(-1, 1, 1)

    return drop


def _blocks(model: nn.Module) -> list[Block]:
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, VisionTransformer):
        return [part for part in backbone.modules() if isinstance(part, Block)]
    raise ModelError(
        f"drop path goes around the blocks of a ViT, and the backbone is a "
        f"{type(backbone).__name__}; leave drop_path out, or take a ViT"
    )

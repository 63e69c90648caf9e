"""A model's trainable numbers as named tensors, and as one vector for sums between sites."""

from math import prod

import torch
from torch import Tensor, nn

from fedefm.errors import ModelError

Weights = dict[str, Tensor]


def weights_of(model: nn.Module) -> Weights:
    """Copies of the trainable parameters, by name: what a site sends and what is averaged.

    Buffers stay at home: the models here keep no running statistics, and a frozen head is the same
    at every site already.
    """
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


@torch.no_grad()
def load_weights(model: nn.Module, weights: Weights) -> None:
    """Write ``weights`` into the trainable parameters of ``model``, in place.

    Raises:
        ModelError: if a name or shape differs; nothing is written then.
    """
    own = {n: p for n, p in model.named_parameters() if p.requires_grad}
    check_same_shapes(weights, like={name: p.detach() for name, p in own.items()})
    for name, parameter in own.items():
        parameter.copy_(weights[name])


def check_same_shapes(weights: Weights, like: Weights) -> None:
    """Raise ModelError naming the first tensor whose name or shape differs between the two."""
    for name in like:
        if name not in weights:
            raise ModelError(f"weights lack {name!r}, which this model has")
        if weights[name].shape != like[name].shape:
            raise ModelError(
                f"weights have {name!r} of shape {tuple(weights[name].shape)}, "
                f"this model has {tuple(like[name].shape)}"
            )
    for name in weights:
        if name not in like:
            raise ModelError(f"weights hold {name!r}, which this model has not")


def flatten(weights: Weights) -> Tensor:
    """All numbers as one float32 vector, tensors in the order of their names."""
    parts = [weights[name].reshape(-1).to(torch.float32) for name in sorted(weights)]
    return torch.cat(parts) if parts else torch.empty(0)


def unflatten(vector: Tensor, like: Weights) -> Weights:
    """The inverse of ``flatten`` for tensors named, shaped and typed as in ``like``.

    Raises:
        ModelError: if ``vector`` has another length.
    """
    sizes = {name: prod(like[name].shape) for name in sorted(like)}
    if vector.ndim != 1 or vector.numel() != sum(sizes.values()):
        raise ModelError(
            f"a vector of shape {tuple(vector.shape)} does not hold the "
            f"{sum(sizes.values())} numbers of this model"
        )
    parts = dict(zip(sizes, vector.split(list(sizes.values())), strict=True))
    return {name: parts[name].reshape(like[name].shape).to(like[name]) for name in like}

"""Rewrites modules of other libraries so that differential privacy can be computed through them."""

from math import gcd

from torch import nn


def group_norm(channels: int) -> nn.GroupNorm:
    """At most 32 groups, and four channels or more in each where ``channels`` allows it."""
    return nn.GroupNorm(gcd(32, max(1, channels // 4)) if channels % 4 == 0 else 1, channels)


def make_dp_safe(module: nn.Module) -> None:
    """Replace BatchNorm by GroupNorm and switch in-place activations off, in ``module`` itself.

    BatchNorm lets a sample see the others of its batch; in-place activations overwrite what Opacus'
    backward hooks still hold. The new norms start fresh, so do this before weights are loaded.
    """
    for part in module.modules():
        if getattr(part, "inplace", False):
            setattr(part, "inplace", False)  # noqa: B010  (a plain attribute of activations only)
        for name, child in part.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(part, name, group_norm(child.num_features))

"""What every backbone offers: dense features, and a pyramid of feature maps for decoders.

Backbones are safe for differential privacy by construction. GroupNorm or LayerNorm only, so that no
sample sees another; no in-place operation, because Opacus' hooks return views that must not change;
every parameter in a leaf module whose ``forward`` runs, because Opacus looks there for activations.
"""

from torch import Tensor, nn

from fedefm.errors import ModelError


class Backbone(nn.Module):
    """Gray images in, features out. Subclasses set ``feature_dim`` and implement ``pyramid``."""

    feature_dim: int  # C of the dense features
    strides: tuple[int, ...]  # of the pyramid's maps, finest first
    channels: tuple[int, ...]  # of the pyramid's maps

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Feature maps ``(B, C_i, h_i, w_i)`` of ``x`` ``(B, 1, H, W)``, finest first."""
        raise NotImplementedError

    def blocks_in_order(self) -> list[nn.ModuleList]:
        """The parts that can be trained one without the other, from input to output.

        What comes before the first one belongs to none of them.
        """
        raise NotImplementedError

    def dense_features(self, x: Tensor) -> Tensor:
        """Features ``(B, h, w, C)`` of images ``(B, 1, H, W)``: one vector per place."""
        return self.pyramid(x)[-1].permute(0, 2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense_features(x)


def plain_images(x: Tensor) -> Tensor:
    """``x`` in plain memory order, checked to be gray images.

    Opacus unfolds a convolution's input by strides and takes plain order for granted: with another
    one its per-sample gradients are silently wrong.

    Raises:
        ModelError: if ``x`` is not ``(B, 1, H, W)``.
    """
    if x.ndim != 4 or x.shape[1] != 1:
        raise ModelError(
            f"images of shape {tuple(x.shape)} do not fit; "
            "a backbone takes gray images (B, 1, H, W)"
        )
    return x.contiguous()

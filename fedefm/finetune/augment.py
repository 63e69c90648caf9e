"""How frames with thin devices are varied in training.

A wire may be one pixel wide. So nothing here shrinks an image or blurs it beyond the half pixel of
one resampling: crops are enlarged, turns are small, and noise stays below the contrast of a device.
"""

import torch
from torch import Tensor

from fedefm.data.transforms import (
    Transform,
    compose,
    gaussian_noise,
    random_intensity,
    random_view,
)

ON_A_DEVICE = 0.5  # share of tiles with a device in them, where the frame has one


def fluoroscopy_views() -> Transform:
    """What a fluoroscopy frame may look like instead: other framing, side, exposure and dose."""
    return compose(
        random_view(scale=(0.6, 1.0), horizontal=True, vertical=True, degrees=15),
        random_intensity(),
        gaussian_noise((0.0, 0.03)),
    )


def chest_views() -> Transform:
    """What a chest X-ray may look like instead. It is never mirrored: sides have a meaning."""
    return compose(
        random_view(scale=(0.8, 1.0), degrees=10),
        random_intensity(),
        gaussian_noise((0.0, 0.03)),
    )


def ultrasound_views() -> Transform:
    """What an ultrasound image may look like instead: a mirrored probe, another gain and depth.

    Never upside down: echoes come from above, and shadows fall below.
    """
    return compose(
        random_view(scale=(0.6, 1.0), horizontal=True, degrees=10),
        random_intensity(),
        gaussian_noise((0.0, 0.03)),
    )


def random_tile(size: int) -> Transform:
    """A tile of ``size`` x ``size`` pixels of each image, as they are.

    Devices are thin and most tiles have none of them. So half of the tiles are laid where the
    middle, as far as the frame allows, is a pixel of a device of the same image.
    """

    def apply(
        images: Tensor, masks: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        room = torch.tensor(images.shape[-2:]) - size
        corners = (torch.rand(len(images), 2, generator=rng) * (room + 1)).long()
        if masks is not None:
            corners = _on_devices(corners, masks, room, size, rng)
        ys, xs = ((corners[:, k, None] + torch.arange(size)).to(images.device) for k in (0, 1))
        of = torch.arange(len(images), device=images.device)[:, None, None]
        tiles = images[of, 0, ys[:, :, None], xs[:, None, :]][:, None]
        return tiles, None if masks is None else masks[of, ys[:, :, None], xs[:, None, :]]

    return apply


def _on_devices(
    corners: Tensor, masks: Tensor, room: Tensor, size: int, rng: torch.Generator
) -> Tensor:
    """Some of the corners moved to where a pixel of a device, drawn at random, is in the middle."""
    draws = torch.rand(len(masks), 2, generator=rng)
    for k, (moved, which) in enumerate(draws.tolist()):
        places = masks[k].nonzero() if moved < ON_A_DEVICE else ()
        if len(places):
            middle = places[int(which * len(places))].cpu()
            corners[k] = torch.minimum((middle - size // 2).clamp(min=0), room)
    return corners

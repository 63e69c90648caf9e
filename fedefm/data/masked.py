"""Frames for masked autoencoding: each with a clean target, and the patches that may be seen."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedefm.config.masking import MaskingConfig
from fedefm.config.names import ScanMode
from fedefm.data.batch import Batch
from fedefm.data.dataset import FrameDataset, Origins, standardize
from fedefm.data.degrade import degraded
from fedefm.data.masking import keep_any, keep_plain, kept_count, texture
from fedefm.data.scan_mode import random_scan_mode
from fedefm.data.transforms import Transform
from fedefm.errors import DataError
from fedefm.seeding import stream_seed


@dataclass(frozen=True)
class MaskedBatch(Batch):
    """A batch whose ``images`` may be degraded, and are seen in part.

    ``clean`` (B, 1, S, S) float32 in [0, 1], what is to be painted; ``kept`` (B, K) int64, the
    patches that are seen, ascending.
    """

    clean: Tensor
    kept: Tensor


class MaskedFrames(FrameDataset):
    """``frames``, handed out as ``MaskedBatch``; masks that were drawn by hand are left out.

    Args:
        patch: side of a patch in pixels.
        scan_mode: that of all ``frames``; where it is not known, none is shown in the other one.

    Raises:
        DataError: if ``patch`` does not divide the frames' side, or is all of it.
    """

    def __init__(
        self,
        frames: FrameDataset,
        patch: int,
        masking: MaskingConfig,
        scan_mode: ScanMode | None = None,
    ) -> None:
        super().__init__(
            frames.images, frames.labels, frames.patients, frames.classes, None, frames.origins
        )
        side = self.images.shape[-1]
        if side % patch or side == patch:
            raise DataError(
                f"frames of {side} pixels cannot be masked by patches of {patch}; use an image "
                f"size of {max(2, round(side / patch)) * patch}, for example"
            )
        self.patch, self.masking, self.scan_mode = patch, masking, scan_mode
        self.patches = (side // patch) ** 2
        self._convert = _conversion(scan_mode, masking.convert)

    def batch(
        self,
        rows: Tensor,
        transform: Transform | None = None,
        rng: torch.Generator | None = None,
    ) -> MaskedBatch:
        """The frames at ``rows`` (B,), changed and masked with draws from ``rng``.

        Some are shown in the other scan mode, then all are transformed: this is the clean target.
        Only what is seen of it is degraded. Without ``rng``, for validation: no frame is changed,
        and its mask is always the same.
        """
        if transform is not None and rng is None:
            raise ValueError("a transform needs a generator to draw from")
        clean = self.images[rows].float().div_(255)
        for change in (self._convert, transform):
            if change is not None and rng is not None:
                clean, _ = change(clean, None, rng)
        seen = clean if rng is None or not self.masking.degrade else degraded(clean, rng)
        kept = self._kept_of_rows(clean, rows) if rng is None else self._kept(clean, rng)
        return MaskedBatch(standardize(seen), self.labels[rows], rows, clean, kept)

    def random_batch(self, samples: int, rng: torch.Generator) -> MaskedBatch:
        """Noise in the shapes of ``batch``; no frame is read."""
        noise = super().random_batch(samples, rng)
        clean = torch.rand(noise.images.shape, generator=rng)
        kept = keep_any(samples, self.patches, self.masking.mask_ratio, rng)
        return MaskedBatch(noise.images, noise.labels, noise.rows, clean, kept)

    def alike(
        self,
        images: Tensor,
        labels: Tensor,
        patients: Tensor,
        masks: Tensor | None = None,
        origins: Origins | None = None,
    ) -> "MaskedFrames":
        """Other frames that are masked in the same way."""
        frames = super().alike(images, labels, patients, masks, origins)
        return MaskedFrames(frames, self.patch, self.masking, self.scan_mode)

    def _kept(self, clean: Tensor, rng: torch.Generator) -> Tensor:
        ratio = self.masking.mask_ratio
        if self.masking.masking == "random":
            return keep_any(len(clean), self.patches, ratio, rng)
        return keep_plain(texture(clean, self.patch), ratio, rng)

    def _kept_of_rows(self, clean: Tensor, rows: Tensor) -> Tensor:
        """Drawn for each frame from a stream of its row's own."""
        kept = torch.empty(len(rows), kept_count(self.patches, self.masking.mask_ratio)).long()
        for place, row in enumerate(rows.tolist()):
            rng = torch.Generator().manual_seed(stream_seed(0, "mask", row))
            kept[place] = self._kept(clean[place : place + 1], rng)[0]
        return kept


def _conversion(scan_mode: ScanMode | None, share: float) -> Transform | None:
    """None where nothing is to be converted: not even a number is drawn then."""
    if scan_mode is None or share == 0:
        return None
    return random_scan_mode(scan_mode, share)

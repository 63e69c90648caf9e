"""What a run makes, and what a site does for it: what is built, how images come, what is minimized.

Who exchanges what with whom does not depend on it (``fedefm.train.rounds``), and neither does what
guards a site's patients (``fedefm.train.protection``): any algorithm that asks for no more than
weights and losses trains any pretext whose objective keeps images apart.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from fedefm.config import MaskingConfig, ModelConfig, RunConfig, TrainingConfig
from fedefm.config.names import PATCHES, UNLABELED, ScanMode
from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.loading import Splits, load_splits
from fedefm.data.manifest import Manifest
from fedefm.data.masked import MaskedFrames
from fedefm.errors import DataError
from fedefm.model.encoder import Encoder
from fedefm.model.foundation import FoundationModel, build_foundation
from fedefm.model.mae import MASKING, MaskedAutoencoder, build_masked_autoencoder
from fedefm.model.segmenter import Segmenter
from fedefm.model.trained_part import train_only_last
from fedefm.train.measure import ACCURACY, Scale, Yardstick
from fedefm.train.objective import Objective, classification
from fedefm.train.painted import draw_painted
from fedefm.train.reconstruction import explained, reconstruction
from fedefm.train.run_files import PAINTED
from fedefm.train.site_tasks import SharedEncoder, pretext_of_task

Pretrained = FoundationModel | MaskedAutoencoder | Encoder  # what comes out of a run
Trained = FoundationModel | MaskedAutoencoder | Segmenter  # what a site trains

# Points of thousands of images must fit into a secure sum; a 32nd is fine enough for a mean.
EXPLAINED = Yardstick("explained", point=1 / 32, score=explained)


class Pretext(Protocol):
    """What one site learns from its images."""

    @property
    def yardstick(self) -> Yardstick: ...

    def build(self, model: ModelConfig, seed: int) -> Trained:
        """The model before its first step; the same numbers in every process."""
        ...

    def load(
        self,
        manifest: Manifest,
        model: ModelConfig,
        progress: Progress | None = None,
        scan_mode: ScanMode | None = None,
    ) -> Splits:
        """A site's images, all of one scan mode if any, in the batches that ``objective`` takes.

        Raises DataError.
        """
        ...

    def objective(self, present: Tensor, training: TrainingConfig) -> Objective:
        """What a site minimizes that holds the labels of ``present`` (K,) bool."""
        ...


class Product(Protocol):
    """What comes out of a run: the model of all sites, or the part that all of them share."""

    title: str  # what the model learned, for its card

    @property
    def scale(self) -> Scale: ...

    def build(self, model: ModelConfig, seed: int) -> Pretrained:
        """The model before its first step; the same numbers in every process."""
        ...

    def draw(self, folder: Path, model: Pretrained, tests: Mapping[str, FrameDataset]) -> None:
        """Write pictures of what ``model`` makes of test images into ``folder``, where it can."""
        ...


class TellingKinds:
    """Telling apart the kinds of images of all sites (FedEFM)."""

    title = "foundation model: which corpus an image is from"
    scale = yardstick = ACCURACY

    def build(self, model: ModelConfig, seed: int) -> FoundationModel:
        """Backbone, and a head over ``model.classes``. Raises ModelError."""
        built = build_foundation(model.backbone, model.classes, model.image_size, model.head, seed)
        if model.train_last is not None:
            train_only_last(built, model.train_last)
        return built

    def load(
        self,
        manifest: Manifest,
        model: ModelConfig,
        progress: Progress | None = None,
        scan_mode: ScanMode | None = None,
    ) -> Splits:
        """Images of the kinds ``model.classes``, as they are. Raises DataError."""
        return load_splits(manifest, model.classes, model.image_size, progress=progress)

    def objective(self, present: Tensor, training: TrainingConfig) -> Objective:
        """Cross-entropy, softly restricted to the labels present."""
        return classification(present, training.absent_penalty)

    def draw(self, folder: Path, model: Pretrained, tests: Mapping[str, FrameDataset]) -> None:
        """Nothing: a kind is no picture."""


class PaintingPatches:
    """Painting hidden patches of an image from the others (UltraFedFM)."""

    title = "masked autoencoder: what hidden patches of an image look like"
    scale = yardstick = EXPLAINED

    def __init__(self, masking: MaskingConfig, patch: int) -> None:
        """``patch`` is the side of a patch in pixels."""
        self._masking, self._patch = masking, patch

    def build(self, model: ModelConfig, seed: int) -> MaskedAutoencoder:
        """Encoder and decoder, and how patches are hidden among their facts. Raises ModelError."""
        built = build_masked_autoencoder(model.backbone, model.image_size, seed)
        built.info[MASKING] = self._masking.model_dump_json()
        return built

    def load(
        self,
        manifest: Manifest,
        model: ModelConfig,
        progress: Progress | None = None,
        scan_mode: ScanMode | None = None,
    ) -> Splits:
        """Images as ``frames`` hands them out. Raises DataError, also where all are plain."""
        splits = load_splits(manifest, (UNLABELED,), model.image_size, progress=progress)
        _refuse_plain(splits.train, manifest)
        return splits.as_frames(partial(self.frames, scan_mode=scan_mode))

    def frames(self, data: FrameDataset, scan_mode: ScanMode | None = None) -> MaskedFrames:
        """With masks, converted, and what is seen made worse, where the run file says so."""
        return MaskedFrames(data, self._patch, self._masking, scan_mode)

    def objective(self, present: Tensor, training: TrainingConfig) -> Objective:
        """The error on hidden patches; labels do not matter."""
        return reconstruction

    def draw(self, folder: Path, model: Pretrained, tests: Mapping[str, FrameDataset]) -> None:
        """What is seen, painted and true, of some test images."""
        if tests and isinstance(model, MaskedAutoencoder):
            draw_painted(folder / PAINTED, model, tests)


def _refuse_plain(train: FrameDataset, manifest: Manifest) -> None:
    """One plain image among others does no harm: it has no texture, and its error is zero."""
    values = train.images.flatten(1)
    if torch.equal(values.amin(dim=1), values.amax(dim=1)):
        raise DataError(
            f"each training image of the manifest in {manifest.folder} is of one gray value, so "
            "that nothing of it can be learned by painting; look at the export with `fedefm data "
            "preview`"
        )


def pretext_of(run: RunConfig, site: str) -> Pretext:
    """What ``site`` learns in ``run``."""
    task = run.task(site)
    return _learned_by_all(run) if task is None else pretext_of_task(task)


def product_of(run: RunConfig) -> Product:
    """What comes out of ``run``."""
    return _learned_by_all(run) if run.stagewise is None else SharedEncoder()


def _learned_by_all(run: RunConfig) -> TellingKinds | PaintingPatches:
    if run.masking is None:
        return TellingKinds()
    return PaintingPatches(run.masking, PATCHES[run.model.backbone])

"""What a run pre-trains its model for: what is built, how images come, what is minimized.

Who exchanges what with whom does not depend on it (``fedefm.train.rounds``), and neither does what
guards a site's patients (``fedefm.train.protection``): any algorithm that asks for no more than
weights and losses trains any pretext whose objective keeps images apart.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from fedefm.config import MaskingConfig, ModelConfig, RunConfig, TrainingConfig
from fedefm.config.names import PATCHES
from fedefm.data.dataset import FrameDataset
from fedefm.data.masked import MaskedFrames
from fedefm.model.foundation import FoundationModel, build_foundation
from fedefm.model.mae import MASKING, MaskedAutoencoder, build_masked_autoencoder
from fedefm.model.trained_part import train_only_last
from fedefm.train.measure import ACCURACY, Yardstick
from fedefm.train.objective import Objective, classification
from fedefm.train.painted import draw_painted
from fedefm.train.reconstruction import explained, reconstruction
from fedefm.train.run_files import PAINTED

Pretrained = FoundationModel | MaskedAutoencoder

# Points of thousands of images must fit into a secure sum; a 32nd is fine enough for a mean.
EXPLAINED = Yardstick("explained", explained, point=1 / 32)


class Pretext(Protocol):
    """One way to learn a backbone from images alone, or from what they show."""

    title: str  # what the model learned, for its card
    yardstick: Yardstick

    def build(self, model: ModelConfig, seed: int) -> Pretrained:
        """The model before its first step; the same numbers in every process."""
        ...

    def frames(self, data: FrameDataset) -> FrameDataset:
        """``data``, handed out in the batches that ``objective`` takes."""
        ...

    def objective(self, present: Tensor, training: TrainingConfig) -> Objective:
        """What a site minimizes that holds the labels of ``present`` (K,) bool."""
        ...

    def draw(self, folder: Path, model: Pretrained, tests: Mapping[str, FrameDataset]) -> None:
        """Write pictures of what ``model`` makes of test images into ``folder``, where it can."""
        ...


class TellingKinds:
    """Telling apart the kinds of images of all sites (FedEFM)."""

    title = "foundation model: which corpus an image is from"
    yardstick = ACCURACY

    def build(self, model: ModelConfig, seed: int) -> FoundationModel:
        """Backbone, and a head over ``model.classes``. Raises ModelError."""
        built = build_foundation(model.backbone, model.classes, model.image_size, model.head, seed)
        if model.train_last is not None:
            train_only_last(built, model.train_last)
        return built

    def frames(self, data: FrameDataset) -> FrameDataset:
        """As they are."""
        return data

    def objective(self, present: Tensor, training: TrainingConfig) -> Objective:
        """Cross-entropy, softly restricted to the labels present."""
        return classification(present, training.absent_penalty)

    def draw(self, folder: Path, model: Pretrained, tests: Mapping[str, FrameDataset]) -> None:
        """Nothing: a kind is no picture."""


class PaintingPatches:
    """Painting hidden patches of an image from the others (UltraFedFM)."""

    title = "masked autoencoder: what hidden patches of an image look like"
    yardstick = EXPLAINED

    def __init__(self, masking: MaskingConfig, patch: int) -> None:
        """``patch`` is the side of a patch in pixels."""
        self._masking, self._patch = masking, patch

    def build(self, model: ModelConfig, seed: int) -> MaskedAutoencoder:
        """Encoder and decoder, and how patches are hidden among their facts. Raises ModelError."""
        built = build_masked_autoencoder(model.backbone, model.image_size, seed)
        built.info[MASKING] = self._masking.model_dump_json()
        return built

    def frames(self, data: FrameDataset) -> MaskedFrames:
        """With masks, and what is seen of them made worse where the run file says so."""
        return MaskedFrames(data, self._patch, self._masking)

    def objective(self, present: Tensor, training: TrainingConfig) -> Objective:
        """The error on hidden patches; labels do not matter."""
        return reconstruction

    def draw(self, folder: Path, model: Pretrained, tests: Mapping[str, FrameDataset]) -> None:
        """What is seen, painted and true, of some test images."""
        if tests and isinstance(model, MaskedAutoencoder):
            draw_painted(folder / PAINTED, model, tests)


def pretext_of(run: RunConfig) -> Pretext:
    """What ``run`` trains."""
    if run.masking is None:
        return TellingKinds()
    return PaintingPatches(run.masking, PATCHES[run.model.backbone])

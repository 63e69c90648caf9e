"""A masked autoencoder's own task: painting the patches of an image that it does not see."""

from dataclasses import dataclass

from torch import nn

from fedefm.config.masking import MaskingConfig
from fedefm.config.names import PATCHES, UNLABELED
from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.manifest import Manifest
from fedefm.data.masked import MaskedFrames
from fedefm.errors import ModelError
from fedefm.finetune.evaluate import refuse_empty
from fedefm.finetune.painting_scores import PaintingScores, score_painting
from fedefm.finetune.task import Answers
from fedefm.model.mae import MASKING, MaskedAutoencoder
from fedefm.train.pretext import EXPLAINED


@dataclass(frozen=True)
class Painting:
    """Judges a masked autoencoder with patches of ``patch`` pixels a side; a ``Judge``.

    Patches are hidden as in the run that trained it, and as for its validation: what is seen is not
    made worse, and an image at one place of a manifest has the same mask each time.
    """

    patch: int
    masking: MaskingConfig
    classes: tuple[str, ...] = (UNLABELED,)

    def load(
        self,
        manifest: Manifest,
        split: str | None,
        image_size: int,
        progress: Progress | None = None,
    ) -> FrameDataset:
        """Images with their masks. Raises DataError as ``FrameDataset.from_manifest`` does."""
        frames = FrameDataset.from_manifest(
            manifest, split, self.classes, image_size, progress=progress
        )
        return MaskedFrames(frames, self.patch, self.masking)

    def answers(self, model: nn.Module, dataset: FrameDataset) -> Answers:
        """The share (N,) that is explained of each image."""
        refuse_empty(dataset)
        return EXPLAINED.by_image(model, dataset).double().numpy()

    def score(self, answers: Answers, dataset: FrameDataset, seed: int = 0) -> PaintingScores:
        """Their mean."""
        return score_painting(answers.astype(float, copy=False), dataset, seed)


def judge_of(model: MaskedAutoencoder) -> Painting:
    """Who can judge ``model``. Raises ModelError where it does not say how patches were hidden."""
    try:
        masking = MaskingConfig.model_validate_json(model.info[MASKING])
    except (KeyError, ValueError):
        raise ModelError(
            "the masked autoencoder does not say how its patches were hidden in training, and so "
            "how well it paints them cannot be measured; pre-train it anew with 'fedefm run'"
        ) from None
    return Painting(PATCHES[model.info["backbone"]], masking)

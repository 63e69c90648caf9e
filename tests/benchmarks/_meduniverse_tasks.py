"""What is fine-tuned for: the project's tasks, a number, and masks by one linear layer.

The decoder of a segmenter sees the image itself beside the backbone's features, and so marks bright
shapes whatever the backbone knows. A probe that is to tell encoders apart therefore gives each
token's features to one linear layer, which says the classes of all pixels of its patch.
"""

from pathlib import Path
from typing import Any

import torch
from _meduniverse_data import Domain
from torch import Tensor, nn
from torch.nn import functional

from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.manifest import Manifest
from fedefm.data.targets import FINENESS, load_targets
from fedefm.data.transforms import Transform, compose, random_intensity, random_view
from fedefm.finetune.diagnose import Diagnosis
from fedefm.finetune.evaluate import batched_logits, refuse_empty
from fedefm.finetune.segment import Segmentation
from fedefm.finetune.start import Start
from fedefm.finetune.task import Answers, Task
from fedefm.model.backbone import Backbone
from fedefm.model.encoder import build_encoder
from fedefm.model.foundation import FoundationModel
from fedefm.model.segmenter import load_foundation
from fedefm.seeding import own_global_stream, stream_seed
from fedefm.train.objective import Objective
from fedefm.train.site_tasks import number_objective

_BATCH = 64


def task_of(domain: Domain, probes: bool) -> Task:
    """What a model learns on the images of ``domain``."""
    if domain.kind == "classification":
        return Diagnosis(domain.classes)
    if domain.kind == "segmentation":
        return LinearMarking(domain.classes) if probes else Segmentation(domain.classes)
    return Telling(*domain.span)


class LinearSegmenter(nn.Module):
    """Images ``(B, 1, H, W)`` to logits ``(B, K, H, W)``, each patch from its token alone."""

    def __init__(self, backbone: Backbone, classes: int, info: dict[str, str]) -> None:
        super().__init__()
        self.backbone, self.info = backbone, info
        self._patch = int(info["image_size"]) // backbone.grid
        self.head = nn.Linear(backbone.feature_dim, classes * self._patch**2)

    def forward(self, x: Tensor) -> Tensor:
        told = self.head(self.backbone.dense_features(x)).permute(0, 3, 1, 2)
        return functional.pixel_shuffle(told, self._patch)


class LinearMarking(Segmentation):
    """Marking by one linear layer."""

    def build(self, start: Start, seed: int) -> Any:
        """The backbone of ``start``, and a fresh layer."""
        encoder = build_encoder("vit_micro", 64, seed)
        with own_global_stream():
            torch.manual_seed(stream_seed(seed, "linear"))
            model = LinearSegmenter(encoder.backbone, len(self.classes), dict(encoder.info))
        assert start.foundation is not None
        load_foundation(model, start.foundation)
        return model


class Telling:
    """Telling a number between ``lowest`` and ``highest``; scores are ``1 - error / range``."""

    classes = ("number",)
    measure = "1 - error"
    title = "a number of an image"

    def __init__(self, lowest: float, highest: float) -> None:
        self._lowest, self._highest = lowest, highest

    @property
    def objective(self) -> Objective:
        """That of regression at a site."""
        return number_objective

    def build(self, start: Start, seed: int) -> FoundationModel:
        """One output."""
        return start.classifier(self.classes, seed)

    def load(
        self,
        manifest: Manifest,
        split: str | None,
        image_size: int,
        progress: Progress | None = None,
    ) -> FrameDataset:
        """Images with a number each."""
        return load_targets(manifest, split, self._lowest, self._highest, image_size, progress)

    def check(self, train: FrameDataset, validation: FrameDataset | None) -> None:
        """Nothing to find."""

    def augmentation(self, image_size: int) -> Transform:
        """Neither larger nor smaller: the number is a length."""
        return compose(random_view(horizontal=True, degrees=10), random_intensity())

    @torch.inference_mode()
    def answers(self, model: nn.Module, dataset: FrameDataset) -> Answers:
        """Places in the range, ``(N,)``."""
        refuse_empty(dataset)
        return torch.cat(list(batched_logits(model, dataset, _BATCH)))[:, 0].numpy()

    def score(self, answers: Answers, dataset: FrameDataset, seed: int = 0) -> Any:
        """As ``look``."""
        return self.look(answers, dataset)

    def look(self, answers: Answers, dataset: FrameDataset) -> float:
        """One less the mean error, as a share of the range."""
        errors = (torch.from_numpy(answers) - dataset.labels / FINENESS).abs()
        return float(1 - errors.mean())

    def save(self, path: Path, model: Any, card: Any) -> None:
        """Nothing is kept."""

    def draw(self, folder: Path, answers: Answers, dataset: FrameDataset, scores: Any) -> None:
        """A number is no picture."""

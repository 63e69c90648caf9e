"""What a model is for: how it is built and taught, what it answers, and what its answers are worth.

Fine-tuning and evaluation know no task; they are handed one.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.manifest import Manifest
from fedefm.data.transforms import Transform
from fedefm.finetune.card import ModelCard, Scores
from fedefm.finetune.start import Start
from fedefm.model.foundation import FoundationModel
from fedefm.model.segmenter import Segmenter
from fedefm.train.objective import Objective

Answers = npt.NDArray[np.generic]  # (N, ...) one answer an image, as a task understands it
Model = Segmenter | FoundationModel


class Judge(Protocol):
    """Measures a model on the images of a manifest."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def load(
        self,
        manifest: Manifest,
        split: str | None,
        image_size: int,
        progress: Progress | None = None,
    ) -> FrameDataset:
        """The images of a split with what is to be found in them."""
        ...

    def answers(self, model: nn.Module, dataset: FrameDataset) -> Answers:
        """What ``model`` says of each image. Raises DataError where there is nothing to compare."""
        ...

    def score(self, answers: Answers, dataset: FrameDataset, seed: int = 0) -> Scores:
        """What ``answers`` to ``dataset`` are worth; ``seed`` draws the bootstrap."""
        ...


class Task(Judge, Protocol):
    """What a model can be fine-tuned for."""

    measure: str  # what ``look`` gives, in a word

    @property
    def title(self) -> str:
        """What the model does, for its card."""
        ...

    @property
    def objective(self) -> Objective: ...

    def build(self, start: Start, seed: int) -> Any:
        """The ``Model`` before its first step."""
        ...

    def check(self, train: FrameDataset, validation: FrameDataset | None) -> None:
        """Raises DataError where nothing can be learned of ``train`` or told by ``validation``.

        Not asked of private training, where what is found in images stays there.
        """
        ...

    def augmentation(self, image_size: int) -> Transform:
        """How training images are varied, and brought to the model's size where they are larger."""
        ...

    def look(self, answers: Answers, dataset: FrameDataset) -> float:
        """One number, the larger the better, by which weights are chosen; nan if undefined."""
        ...

    def save(self, path: Path, model: Any, card: ModelCard) -> None:
        """Write the checkpoint, whole or not at all."""
        ...

    def draw(self, folder: Path, answers: Answers, dataset: FrameDataset, scores: Any) -> None:
        """Write pictures to look at into the new ``folder``, where the task has some."""
        ...


def image_size_of(model: nn.Module) -> int:
    """Side in pixels of the images that a model of ours takes."""
    info: dict[str, str] = getattr(model, "info")  # noqa: B009 - a Module's attributes are Tensors
    return int(info["image_size"])

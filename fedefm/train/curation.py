"""What the server does at the end of a stage: fits the encoder to its sites' features of images.

The paper says that the server curates what the sites return, and not how. Here it may: the server
sends images of its own, without labels, and receives the mean of the features that the sites'
encoders, each trained for another task, give them. The encoder then learns to give these features.
A mean of features says what a mean of weights does not: two encoders can see the same and have
weights whose mean sees nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedefm.config import CurationConfig
from fedefm.data.batch import Batch
from fedefm.data.dataset import FrameDataset
from fedefm.model.encoder import Encoder, unit_features
from fedefm.model.weights import Weights, load_weights, weights_of
from fedefm.seeding import generator_for
from fedefm.train.message import Shapes
from fedefm.train.objective import Objective
from fedefm.train.optimization import momentum_sgd
from fedefm.train.trainer import PlainTrainer

MOMENTUM = 0.9
BATCH = 32
IMAGES = "images"  # the one tensor of the message with the server's images


@dataclass
class Curator:
    """The server's images without labels, and how the encoder learns from features of them."""

    frames: FrameDataset
    model: Encoder  # loaded anew each time
    settings: CurationConfig
    seed: int

    @property
    def images(self) -> Tensor:
        """``(N, 1, S, S)``, as a model takes them: what the sites of a stage are sent."""
        return self.frames.batch(torch.arange(len(self.frames))).images

    def curate(self, weights: Weights, features: Tensor, round_index: int) -> Weights:
        """``weights``, after learning to give ``features`` ``(N, C)`` of the images."""
        load_weights(self.model, weights)
        trainer = PlainTrainer(self.frames, BATCH, momentum_sgd(MOMENTUM))
        rng = generator_for(self.seed, "server", round_index, "curate")
        rate = self.settings.learning_rate
        trainer.fit(self.model, _likeness(features), self.settings.steps, rate, rng)
        return weights_of(self.model)


def image_shapes(settings: CurationConfig, image_size: int) -> Shapes:
    """What the message with the server's images must look like."""
    return {IMAGES: torch.Size([settings.images, 1, image_size, image_size])}


def _likeness(features: Tensor) -> Objective:
    """One minus the cosine to the features wanted, image by image."""
    wanted = functional.normalize(features, dim=1)

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        return 1 - (unit_features(model(batch.images)) * wanted[batch.rows]).sum(dim=1)

    return losses

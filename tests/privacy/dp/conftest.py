"""A few patients with several frames each, a model for them, and noise that a test can switch off.

``Quiet`` is a stream whose normals are zero: a private step is then an ordinary one, which a test
can compute by itself. ``Purse`` stands for the ledger and writes down who asked what, in order.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fedefm.data.dataset import FrameDataset
from fedefm.errors import BudgetExhausted
from fedefm.train.optimization import momentum_sgd
from privacy.calibrate import Sampling
from privacy.dp.gradients import Clip
from privacy.dp.loop import LoopGradients
from privacy.dp.randomness import SecretStream
from privacy.dp.trainer import PrivateTrainer
from privacy.mechanism import Mechanism


class Quiet(SecretStream):
    """Draws patients as ever, and no noise."""

    def normal(self, count):
        return np.zeros(count)


@dataclass
class Purse:
    """An account that refuses after ``left`` steps; ``log`` holds what was asked of it."""

    mechanism: Mechanism
    left: int = 10_000
    log: list = field(default_factory=list)

    def reserve(self, steps):
        if steps > self.left:
            raise BudgetExhausted(f"{self.left} steps are left and {steps} were asked for")
        self.left -= steps
        self.log.append(("reserve", steps))
        return len(self.log)

    def settle(self, reservation, steps):
        self.log.append(("settle", reservation, steps))


def frames_of(counts, size=6, classes=3, seed=0):
    """A dataset in which patient k has ``counts[k]`` frames; the frames of all are mixed."""
    rng = torch.Generator().manual_seed(seed)
    patients = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    patients = patients[torch.randperm(len(patients), generator=rng)]
    frames = len(patients)
    return FrameDataset(
        torch.randint(0, 256, (frames, 1, size, size), generator=rng, dtype=torch.uint8),
        torch.randint(0, classes, (frames,), generator=rng),
        patients,
        tuple(f"class {k}" for k in range(classes)),
    )


def small_model(size=6, classes=3, width=8, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(size * size, width), nn.Tanh(), nn.Linear(width, classes)]
        return nn.Sequential(nn.Flatten(), *layers)


def cross_entropy(model, batch):
    return functional.cross_entropy(model(batch.images), batch.labels, reduction="none")


def flat(model):
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


def trainer(frames, rate=1.0, cap=None, noise=1.0, clip=1.0, units=None, momentum=0.0, **others):
    """A private trainer with an account that fits it, with short names for what tests change."""
    units = units or len(frames.patients.unique())
    sampling = Sampling(rate, units, cap or units)
    settings = {
        "clip": clip if isinstance(clip, Clip) else Clip(clip),
        "gradients": LoopGradients(),
        "account": Purse(sampling.mechanism(noise)),
        "frames_per_patient": 1,
        "unit": "patient",
        "optimization": momentum_sgd(momentum),
        "transform": None,
    }
    return PrivateTrainer(frames, sampling, noise_multiplier=noise, **(settings | others))


@pytest.fixture(name="private", scope="session")
def _private():
    """What the tests of private training share."""
    return SimpleNamespace(
        Quiet=Quiet,
        keyed=SecretStream,
        Purse=Purse,
        frames_of=frames_of,
        small_model=small_model,
        cross_entropy=cross_entropy,
        flat=flat,
        trainer=trainer,
    )

"""A ring of sites for the rounds benchmark, and the same optimizer steps without a federation."""

import time

import torch
from torch import nn

from fedefm.config import RunConfig
from fedefm.data.dataset import FrameDataset
from fedefm.seeding import generator_for
from fedefm.train.assemble import build_server, build_site, plan_exchanges
from fedefm.train.federation import Federation
from fedefm.train.objective import Objective, classification
from fedefm.train.trainer import FitStats, Trainer

AVERAGING_ROUNDS = 2  # of a cycle here; a run has more, and its mean is taken from the medians
CLASSES = tuple(f"class-{k}" for k in range(16))
IMAGES, SIDE = 256, 32  # at each site; pixels
RUN = RunConfig.model_validate(
    {
        "name": "rounds",
        "model": {"backbone": "resnet_micro", "image_size": SIDE, "classes": CLASSES},
        "training": {"batch_size": 16},
        "federation": {"rounds": 10_000},  # so many that the learning rate stays
    }
)


def build_federation(count: int, run: RunConfig = RUN) -> Federation:
    """A ring without files, as a notebook would use it; each site has noise for images."""
    names = [f"site-{k:02d}" for k in range(count)]
    plan = plan_exchanges(run, names)
    sites = {name: build_site(name, _noise(name), run, plan) for name in names}
    return Federation(run, plan, sites, build_server(run, plan))


def _noise(name: str) -> FrameDataset:
    rng = generator_for(0, name, 0, "images")
    images = torch.randint(256, (IMAGES, 1, SIDE, SIDE), generator=rng, dtype=torch.uint8)
    labels = torch.randint(len(CLASSES), (IMAGES,), generator=rng)
    return FrameDataset(images, labels, torch.arange(IMAGES), CLASSES)


class PlainSteps:
    """The optimizer steps of a federation's rounds and nothing else, as somebody alone would write
    them: hosted steps are further steps of the same model."""

    def __init__(self, count: int) -> None:
        self._sites = build_federation(count).sites
        penalty = RUN.training.absent_penalty
        self._losses = {
            name: classification(site.dataset.present, penalty)
            for name, site in self._sites.items()
        }

    def play_round(self, round_index: int) -> None:
        phases = {"train": RUN.federation.local_steps}
        if is_expert_round(round_index):
            phases["host"] = RUN.federation.host_steps
        for name, site in self._sites.items():
            for phase, steps in phases.items():
                rng = generator_for(RUN.seed, name, round_index, phase)
                rate = RUN.training.learning_rate
                site.trainer.fit(site.model, self._losses[name], steps, rate, rng)


def is_expert_round(round_index: int) -> bool:
    return (round_index + 1) % RUN.federation.expert_every == 0


def cycle_of_rounds(cycle: int) -> list[int]:
    """Numbers of averaging rounds, then of the expert round that follows them in a run."""
    every = RUN.federation.expert_every
    expert = every * (cycle + 1) - 1
    return [*range(expert - AVERAGING_ROUNDS, expert), expert]


class TimedTrainer:
    """A site's trainer that adds up the CPU seconds of its steps."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self.seconds = 0.0
        self.state, self.load_state = trainer.state, trainer.load_state

    def fit(
        self,
        model: nn.Module,
        objective: Objective,
        steps: int,
        learning_rate: float,
        rng: torch.Generator,
    ) -> FitStats:
        started = time.process_time()
        stats = self._trainer.fit(model, objective, steps, learning_rate, rng)
        self.seconds += time.process_time() - started
        return stats

"""Whole federations in memory, small enough to break one in every place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedefm.config import RunConfig, parse
from fedefm.data.dataset import FrameDataset
from fedefm.events import Event, EventLog
from fedefm.train.assemble import build_server, build_site, plan_exchanges
from fedefm.train.federation import Federation
from fedefm.train.simulate import Faults

SITES = ("north", "east", "south", "west")
CLASSES = ("a", "b", "c", "d")
ALGORITHMS: dict[str, dict[str, Any]] = {
    "swap": {"expert_every": 2},
    "mixed": {"update": "mixed", "schedule": "neighbors", "topology": "complete"},
    "aggregated": {
        "update": "mixed",
        "schedule": "neighbors",
        "topology": "complete",
        "expert": "aggregated",
    },
    "grid": {"schedule": "grid", "cohort": 3, "expert_every": 2},
    "literal": {"update": "literal", "schedule": "neighbors"},
    "gossip": {"algorithm": "gossip", "schedule": "neighbors"},
    "fedavg": {"scenario": "client_server", "algorithm": "fedavg"},
    "none": {"scenario": "local", "algorithm": "none"},
}


def settings(algorithm: str, **federation: Any) -> RunConfig:
    """A run file for ``algorithm``; ``beta`` is not 0, so that the teachers matter."""
    steps = {"rounds": 4, "local_steps": 1, "host_steps": 1}
    data = {
        "name": "small",
        "model": {"backbone": "resnet_micro", "image_size": 16, "classes": list(CLASSES)},
        "training": {"batch_size": 4},
        "federation": {**steps, **ALGORITHMS[algorithm], **federation},
        "distill": {"beta": 0.5, "pool": 2},
    }
    return parse(data, RunConfig, "small run")


def noise_of(label: int, count: int = 8) -> FrameDataset:
    """Noise of one label, another one at each site."""
    rng = torch.Generator().manual_seed(label)
    images = torch.randint(0, 256, (count, 1, 16, 16), generator=rng, dtype=torch.uint8)
    return FrameDataset(images, torch.full((count,), label), torch.arange(count), CLASSES)


class Observed:
    """A federation and everything that it told."""

    def __init__(
        self,
        run: RunConfig,
        faults: Faults = Faults(),  # noqa: B008 - frozen
        names: tuple[str, ...] = SITES,
        order: tuple[str, ...] | None = None,
        **parts: Any,
    ) -> None:
        self.events: list[Event] = []
        plan = plan_exchanges(run, names)
        sites = {
            name: build_site(name, noise_of(names.index(name) % 4), run, plan)
            for name in order or names
        }
        log = EventLog(None, (self.events.append,))
        self.federation = Federation(
            run, plan, sites, build_server(run, plan), log, faults, **parts
        )
        self.sites = sites

    def told(self, kind: str, **wanted: Any) -> list[Event]:
        """The events of one kind with these fields."""
        return [
            event
            for event in self.events
            if event["event"] == kind and all(event[k] == v for k, v in wanted.items())
        ]

    def unheard(self, round_index: int) -> dict[str, list[str]]:
        """Whom each site did not hear from."""
        return {e["site"]: e["unheard"] for e in self.told("round", round=round_index)}


@pytest.fixture
def configure() -> Callable[..., RunConfig]:
    """``configure(algorithm, **federation settings)``: a run file."""
    return settings


@pytest.fixture
def observe() -> type[Observed]:
    """``observe(run, faults, ...)``: a federation that is listened to."""
    return Observed


@pytest.fixture
def state_folder(tmp_path: Path) -> Path:
    """Where checkpoints go."""
    return tmp_path / "state"


@pytest.fixture
def images_of() -> Callable[..., FrameDataset]:
    """``images_of(label)``: images that belong to one label."""
    return noise_of

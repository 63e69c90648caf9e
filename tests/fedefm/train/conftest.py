"""Small federations in memory: four sites, each with a texture of its own, 16 px."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fedefm.config import RunConfig, parse
from fedefm.data.dataset import FrameDataset
from fedefm.data.manifest import Row, write_manifest
from fedefm.errors import MessageRejected
from fedefm.model.weights import Weights, load_weights, weights_of
from fedefm.train.assemble import Plan, build_server, build_site, plan_exchanges
from fedefm.train.exchange import Exchange, Inbox
from fedefm.train.federation import Federation
from fedefm.train.site import Site
from fedefm.train.trainer import FitStats, Trainer

SITES = ("north", "east", "south", "west")
CLASSES = ("coarse", "fine", "rows", "columns")
SMALL: dict[str, Any] = {
    "name": "small",
    "model": {"backbone": "resnet_micro", "image_size": 16, "classes": list(CLASSES)},
    "training": {"batch_size": 4, "learning_rate": 0.05},
    "federation": {"rounds": 4, "local_steps": 1, "host_steps": 1},
    "distill": {"pool": 2},
}


def textures(label: int, count: int, seed: int) -> torch.Tensor:
    """(count, 1, 16, 16) uint8: noise with the wavelength and direction of ``label``."""
    rng = torch.Generator().manual_seed(100 * seed + label)
    noise = 40 * torch.randn(count, 1, 16, 16, generator=rng)
    phase = 16 * torch.rand(count, 1, 1, 1, generator=rng)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    waves = (torch.sin((x + y + phase) / 3), torch.sin((x + y + phase) * 1.5))
    pattern = (*waves, torch.sin((y + phase) * 0.9), torch.sin((x + phase) * 0.9))[label]
    return (128 + 60 * pattern + noise).clamp(0, 255).to(torch.uint8)


def images_of(label: int, count: int = 10, seed: int = 0) -> FrameDataset:
    """``count`` frames of one label, two of each patient."""
    return FrameDataset(
        textures(label, count, seed),
        torch.full((count,), label),
        torch.arange(count) // 2,
        CLASSES,
    )


def settings(**sections: Mapping[str, Any]) -> RunConfig:
    """The small run file with some settings changed, by section."""
    changed = {name: {**SMALL.get(name, {}), **part} for name, part in sections.items()}
    return parse({**SMALL, **changed}, RunConfig, "small run")


class Pull:
    """A trainer with a formula: it pulls every weight a tenth of the way to the site's ``target``.

    What a round makes of it can be written down, and does not depend on images.
    """

    def __init__(self, target: float) -> None:
        self.target = target
        self.momentum: dict[str, Tensor] = {}

    def fit(self, model: nn.Module, objective: Any, steps: int, rate: float, rng: Any) -> FitStats:
        weights = weights_of(model)
        for _ in range(steps):
            weights = self.of(weights)
        load_weights(model, weights)
        self.momentum = {"steps": self.momentum.get("steps", torch.zeros(1)) + steps}
        return FitStats(loss=1.0, steps=steps, images=steps, seconds=0.0)

    def of(self, weights: Weights) -> Weights:
        return {name: 0.9 * value + 0.1 * self.target for name, value in weights.items()}

    def state(self) -> dict[str, Tensor]:
        return dict(self.momentum)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.momentum = dict(state)


class World:
    """What a test needs to set up a federation, by name."""

    names = SITES
    classes = CLASSES
    images_of = staticmethod(images_of)
    settings = staticmethod(settings)

    @staticmethod
    def sites(
        run: RunConfig, names: tuple[str, ...] = SITES, images: int | None = None
    ) -> dict[str, Site]:
        """Each site holds one label; how many images differs, unless given."""
        plan = plan_exchanges(run, names)
        return {
            name: build_site(name, images_of(k % 4, images or 8 + 2 * k), run, plan)
            for k, name in enumerate(names)
        }

    @classmethod
    def pulled_sites(cls, run: RunConfig, names: tuple[str, ...] = SITES) -> dict[str, Site]:
        """Sites with other weights each, whose training is a formula (see ``Pull``)."""
        sites = cls.sites(run, names)
        for k, site in enumerate(sites.values()):
            site.trainer = Pull(float(k))
            site.load({name: value + 0.1 * k for name, value in site.weights().items()})
        return sites

    @classmethod
    def federation(cls, run: RunConfig, images: int | None = None) -> Federation:
        """A federation of ``sites``."""
        plan = plan_exchanges(run, SITES)
        return Federation(run, plan, cls.sites(run, SITES, images), build_server(run, plan))

    @staticmethod
    def plan(run: RunConfig, names: tuple[str, ...] = SITES) -> Plan:
        """Who exchanges with whom."""
        return plan_exchanges(run, names)

    @staticmethod
    def idle() -> Trainer:
        """A trainer that changes nothing."""
        trainer = Pull(0.0)
        trainer.of = dict  # type: ignore[method-assign, assignment]
        return trainer

    @staticmethod
    def similarities(sites: Mapping[str, Site]) -> dict[str, dict[str, Tensor]]:
        """Collects what each site finds out about its experts, while a round goes on."""
        seen: dict[str, dict[str, Tensor]] = {}

        def watch(site: Site) -> None:
            found = site.similarity

            def watched(experts: Mapping[str, Weights], round_index: int) -> dict[str, Tensor]:
                seen[site.name] = found(experts, round_index)
                return seen[site.name]

            site.similarity = watched  # type: ignore[method-assign]

        for site in sites.values():
            watch(site)
        return seen

    @staticmethod
    def exchange_by_hand(
        steps: Mapping[str, Any], lost: Callable[[str, str], bool] = lambda a, b: False
    ) -> dict[str, Any]:
        """Drive generators without the network: whatever is sent and not ``lost`` is there.

        ``lost(sender, receiver)`` is asked once for each message.
        """
        waiting: dict[str, Exchange] = {}
        results: dict[str, Any] = {}

        def go_on(name: str, inbox: Inbox | None) -> None:
            try:
                waiting[name] = steps[name].send(inbox)
            except StopIteration as finished:
                results[name] = finished.value

        for name in steps:
            go_on(name, None)
        while waiting:
            mail: dict[str, dict[str, Any]] = {name: {} for name in steps}
            for sender, exchange in waiting.items():
                for receiver, tensors in exchange.outgoing.items():
                    if not lost(sender, receiver):
                        mail[receiver][sender] = tensors
            turn, waiting = waiting, {}
            for name, exchange in turn.items():
                go_on(name, {s: t for s, t in mail[name].items() if s in exchange.expect})
        return results


@pytest.fixture
def world() -> type[World]:
    """Builds small federations."""
    return World


class ToySeal:
    """Signs with a keyed digest; all know all keys, which is enough to see who signed what."""

    def __init__(self, name: str) -> None:
        self.name = name

    def sign(self, data: bytes) -> str:
        return hashlib.sha256(self.name.encode() + b"|" + data).hexdigest()

    def verify(self, sender: str, data: bytes, seal: str) -> None:
        if seal != ToySeal(sender).sign(data):
            raise MessageRejected(f"message from {sender!r}: its signature does not fit")


@pytest.fixture
def sealed() -> type[ToySeal]:
    """The seal of a party, by its name."""
    return ToySeal


@pytest.fixture(scope="session")
def world_class() -> type[World]:
    """``world`` for fixtures that live longer than a test."""
    return World


SPLITS = ("train", "train", "train", "validation", "test")  # of every five patients


def sites_on_disk(folder: Path, names: tuple[str, ...], splits: tuple[str, ...] = SPLITS) -> Path:
    """A folder a site, with ten images of one label, two of each patient."""
    for name in names:
        label = (SITES.index(name) if name in SITES else 0) + 1
        place = folder / name
        place.mkdir(parents=True)
        rows = []
        for k, image in enumerate(textures(label % 4, 10, seed=0)):
            Image.fromarray(image[0].numpy()).save(place / f"{k}.png")
            split = splits[(k // 2) % len(splits)]
            patient = f"secret-{name}-{k // 2}"
            rows.append(Row(f"{k}.png", 0, patient, CLASSES[label % 4], split=split))
        write_manifest(place / "manifest.csv", rows)
        datasets = {"datasets": {"pretraining": {"manifest": "manifest.csv"}}}
        (place / "fedefm_site.yaml").write_text(json.dumps(datasets))
    return folder


@pytest.fixture
def write_sites() -> Callable[..., Path]:
    """``write_sites(folder, names, splits)``: sites as `fedefm data split` leaves them."""
    return sites_on_disk


@pytest.fixture(scope="session")
def written_sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sites on disk; nobody may change them."""
    return sites_on_disk(tmp_path_factory.mktemp("sites"), ("north", "east", "south"))

"""Five sites that learn under secure sums, with anybody's protocol exchanged for an attacker's.

Training is a formula, and nothing is learned from zeros: so a liar can silence a site, as with a
model of dead units.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fedefm.config import RunConfig
from fedefm.errors import ModelError
from fedefm.model.weights import Weights
from fedefm.train.assemble import Plan, build_server, build_site, plan_exchanges
from fedefm.train.exchange import SERVER, Cohort, Occasion, Steps, Total
from fedefm.train.federation import Federation, Hidden
from fedefm.train.measure import ACCURACY, measure_on
from fedefm.train.secrecy import Secrecy
from fedefm.train.server import Server
from fedefm.train.simulate import Faults, Network, Outcome
from fedefm.train.site import Site
from fedefm.train.trainer import FitStats
from privacy.identity import MessageSeal, ThrowAwayRoot
from privacy.secagg.memory import Memory
from privacy.secagg.sum import SecureSum
from tests.fedefm.train.conftest import Pull, World

NAMES = ("a", "b", "c", "d", "e")
EVERYBODY = frozenset(NAMES)
VICTIM = "c"
ISSUER = ThrowAwayRoot()
IDENTITIES = {name: ISSUER.issue(name) for name in (*NAMES, SERVER)}


class Unit(Pull):
    """Pulls weights to the site's target, but for zeros, which stay; tells its target as loss.

    A target of NaN stands for training that fails.
    """

    def fit(self, model: nn.Module, objective: Any, steps: int, rate: float, rng: Any) -> FitStats:
        if math.isnan(self.target):
            raise ModelError("the loss is not finite")
        return replace(super().fit(model, objective, steps, rate, rng), loss=self.target)

    def of(self, weights: Weights) -> Weights:
        return super().of(weights) if any(value.any() for value in weights.values()) else weights


@dataclass(frozen=True)
class Run:
    """The parties of one run, and what the secure sums complained of, by party."""

    settings: RunConfig
    plan: Plan
    sites: dict[str, Site]
    server: Server
    secrecies: dict[str, Secrecy]
    told: dict[str, list[str]]

    def play(
        self, round_index: int, steps: Mapping[str, Steps[Any]], faults: Faults | None = None
    ) -> dict[str, Outcome[Any]]:
        """One exchange of all parties; a site that fails is put back to where it was before."""
        before = {name: site.state() for name, site in self.sites.items()}
        seals = {name: secrecy.seal for name, secrecy in self.secrecies.items()}
        network = Network(self.settings.name, "job", 20, faults or Faults(), {}, seals)
        outcomes = network.run_round(dict(steps), round_index)
        for name, site in self.sites.items():
            if outcomes[name].error is not None:
                site.load_state(before[name])
        return outcomes

    def federation(self, faults: Faults) -> Federation:
        """The whole run, as it is played in one process."""
        hidden = {name: Hidden(s, self.told[name]) for name, s in self.secrecies.items()}
        sites, server = self.sites, self.server
        return Federation(self.settings, self.plan, sites, server, faults=faults, hidden=hidden)

    def complaints(self) -> str:
        """Everything that any secure sum complained of."""
        return "\n".join(sentence for told in self.told.values() for sentence in told)


def a_run(secret: bool = True, **federation: Any) -> Run:
    """Sites with targets, image counts and labels of their own; plain sums unless ``secret``."""
    privacy = {"secagg": {"largest_site": 100}} if secret else {}
    distill = {"beta": 0.2}  # experts teach, and so a site keeps those that it got
    settings = World.settings(federation=federation, privacy=privacy, distill=distill)
    plan = plan_exchanges(settings, NAMES)
    told: dict[str, list[str]] = {name: [] for name in (*NAMES, SERVER)}
    secrecies = {name: _secrecy(settings, name, told[name]) for name in told} if secret else {}
    sites = {
        name: _site(name, place, settings, plan, secrecies.get(name))
        for place, name in enumerate(NAMES)
    }
    server = build_server(settings, plan, secrecy=secrecies.get(SERVER))
    return Run(settings, plan, sites, server, secrecies, told)


def everybody(run: Run, steps: Callable[[Site], Steps[Any]]) -> dict[str, Steps[Any]]:
    """The same protocol at each site."""
    return {name: steps(site) for name, site in run.sites.items()}


def zeros(weights: Weights) -> Weights:
    """The model that no site learns anything from."""
    return {name: torch.zeros_like(value) for name, value in weights.items()}


def near(found: Tensor, truth: Tensor) -> bool:
    """Is it the site's own, but for the rounding of a sum?"""
    return bool((found - truth).abs().max() < 1e-3)


class Nameless:
    """A sum whose members do not say who signed it with them, as that of plain sums."""

    def __init__(self, site: Site) -> None:
        self._sum = site.sum

    def __call__(
        self, occasion: Occasion, parts: Mapping[Cohort, Tensor], own: Cohort | None
    ) -> Iterator[Any]:
        total: Total = yield from self._sum(occasion, parts, own)
        return replace(total, company={})


def _secrecy(run: RunConfig, name: str, told: list[str]) -> Secrecy:
    settings = run.privacy.secagg
    assert settings is not None
    identity, memory = IDENTITIES[name], Memory(None)
    total = SecureSum(
        name, identity, ISSUER.root, memory, "job", run.name, settings, 2, told.append
    )
    return Secrecy(total, MessageSeal(identity, ISSUER.root))


def _site(name: str, place: int, run: RunConfig, plan: Plan, secrecy: Secrecy | None) -> Site:
    held = {
        split: World.images_of(place % 4, 5 + place, seed=7) for split in ("validation", "test")
    }
    images = World.images_of(place % 4, 8 + 2 * place)
    site = build_site(name, images, run, plan, secrecy=secrecy, measure=measure_on(ACCURACY, held))
    site.trainer = Unit(1.0 + place)
    return site

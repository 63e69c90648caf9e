"""One hospital in a federation: its model, its images, and what it does with both.

A site knows no network. The algorithms in ``fedefm.train.rounds`` say in which order its verbs are
used; what privacy wraps (the trainer and the sum) is handed in.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fedefm.config import DistillConfig, FederationConfig, StagewiseConfig, TrainingConfig
from fedefm.data.dataset import FrameDataset
from fedefm.distill.loss import expert_weights
from fedefm.model.encoder import unit_features
from fedefm.model.foundation import FoundationModel
from fedefm.model.weights import Weights, check_same_shapes, load_weights, weights_of
from fedefm.seeding import generator_for
from fedefm.topology.participation import Asked
from fedefm.topology.schedules import Schedule
from fedefm.train.exchange import Cohort, Sum, plain_sum
from fedefm.train.measure import Measure, measure_nothing
from fedefm.train.message import Shapes, shapes_of
from fedefm.train.objective import Objective, agreement, as_foundation, distillation
from fedefm.train.pretext import Trained
from fedefm.train.protection import MEAN_IMAGES, Mean, NoisySum, Release
from fedefm.train.rates import learning_rate
from fedefm.train.trainer import FitStats, Trainer

APART = "apart"
AT_ONCE = 64  # images
BANK_ROUNDS = 2  # returned experts of so many rounds teach; more only adds forward passes


@dataclass(frozen=True)
class SiteSettings:
    """What the run file says about the work of a site."""

    seed: int
    training: TrainingConfig
    federation: FederationConfig
    distill: DistillConfig
    stages: StagewiseConfig | None = None


@dataclass
class Site:
    """One party that trains.

    ``mixing`` holds the weight of each possible partner in a mean; the site keeps the rest for
    itself. ``experts`` are the teachers that came back lately, newest last. ``average`` is the
    weight average over rounds, from which the global model is made. ``present`` (K,) bool says
    which labels the site holds, ``objective`` is what it minimizes where nobody
    teaches, ``share`` its weight in a mean over sites, and ``measures`` whether
    it may tell what it saw in training (see ``fedefm.train.protection``). ``everyone`` are the
    sites of the run, this one among them, and ``asked`` those that a server
    asks in a round. Where only sums are told, ``size`` (training images, or
    patients) and what ``measure`` finds on images that are not trained on go into them. Where sites
    make their noise together, ``noisy_sum`` is all that training gives. A site is ``apart`` from
    when it missed a mean of its cohort until the next one that it is in, and ``handed`` is the
    digest of the model that the server gave it last. What is ``shared`` with a server is the part
    of the model whose names begin so; the rest never leaves.
    """

    name: str
    model: Trained
    trainer: Trainer
    dataset: FrameDataset
    schedule: Schedule
    mixing: Mapping[str, float]
    settings: SiteSettings
    mean: Mean
    release: Release
    measures: bool
    present: Tensor
    objective: Objective
    share: float
    size: int
    everyone: frozenset[str]
    asked: Asked
    sum: Sum = plain_sum
    measure: Measure = measure_nothing
    noisy_sum: NoisySum | None = None
    shared: str = ""
    average: Weights | None = None
    experts: list[Weights] = field(default_factory=list)
    apart: bool = False
    handed: str = ""

    def __post_init__(self) -> None:
        self.shapes: Shapes = shapes_of(self.shared_weights())
        self._teachers: list[FoundationModel] = []

    # What the algorithms use, in the order of a round.

    def partners(self, round_index: int) -> frozenset[str]:
        """To whom this site sends in this round."""
        return frozenset(self.schedule.partners(self.name, round_index))

    def sources(self, round_index: int) -> frozenset[str]:
        """Who sends to this site in this round; the partners, unless the schedule is directed."""
        return frozenset(self.schedule.sources(self.name, round_index))

    def neighborhood(self, receiver: str, round_index: int) -> Cohort:
        """Those who send to ``receiver`` in this round; it adds a part of its own."""
        return Cohort(receiver, frozenset(self.schedule.sources(receiver, round_index)), joins=True)

    def hosts(self, owner: str, round_index: int) -> Cohort:
        """Those to whom ``owner`` sends in this round, and who train its weights."""
        return Cohort(owner, frozenset(self.schedule.partners(owner, round_index)))

    def weights(self) -> Weights:
        """A copy of the current weights."""
        return weights_of(self.model)

    def load(self, weights: Weights) -> None:
        """Make ``weights`` the current ones."""
        load_weights(self.model, weights)

    def shared_weights(self) -> Weights:
        """A copy of those that a server may have."""
        return {n: w for n, w in self.weights().items() if n.startswith(self.shared)}

    def load_shared(self, weights: Weights) -> None:
        """Make a server's weights the current ones; what is not shared stays as it is.

        Raises ModelError where they are of another model; nothing is written then.
        """
        check_same_shapes(weights, like=self.shared_weights())
        self.load(self.weights() | weights)

    def features(self, images: Tensor) -> Tensor:
        """``(N, C)``: what the backbone makes of ``images`` ``(N, 1, S, S)``, each of length 1."""
        with torch.inference_mode():
            parts = [self.model.backbone.dense_features(one) for one in images.split(AT_ONCE)]
            return torch.cat([unit_features(dense) for dense in parts])

    def train_locally(self, round_index: int) -> FitStats:
        """A round's steps on the own images; returned experts teach where distillation is set."""
        stats = self.trainer.fit(
            self.model,
            self._own_objective(),
            self.local_steps,
            self.learning_rate(round_index),
            self._stream(round_index, "train"),
        )
        return stats if self.measures else replace(stats, loss=None)

    def host(self, weights: Weights, round_index: int, guest: str) -> Weights:
        """Train another site's weights on the own images: they go home as an expert (eq. 1).

        The guest starts from a copy of what this site's optimizer keeps; the site itself is left as
        it was.
        """
        own, kept = self.weights(), self.trainer.state()
        self.load(weights)
        try:
            self.trainer.fit(
                self.model,
                self.objective,
                self.settings.federation.host_steps,
                self.learning_rate(round_index),
                self._stream(round_index, f"host {guest}"),
            )
            return self.weights()
        finally:
            self.load(own)
            self.trainer.load_state(kept)

    def welcome(self, experts: Mapping[str, Weights]) -> None:
        """Take returned experts as teachers, where the run has any; the oldest ones leave."""
        if self.settings.distill.beta == 0:  # a state on the disk would hold them for nothing
            return
        newest = [experts[host] for host in sorted(experts)]
        if newest:
            self.experts = [*self.experts, *newest][-BANK_ROUNDS * len(newest) :]

    def similarity(self, experts: Mapping[str, Weights], round_index: int) -> dict[str, Tensor]:
        """Per expert the ``(B,)`` agreement ``1 - EMD`` with the own model on own images.

        For the log alone; empty where nothing measured on training images may be told.
        """
        if not experts or not self.measures:
            return {}
        rng = self._stream(round_index, "similarity")
        rows = torch.randperm(len(self.dataset), generator=rng)[:MEAN_IMAGES]
        return dict(zip(sorted(experts), self._agreement(experts, rows), strict=True))

    def trust(self, experts: Mapping[str, Weights], round_index: int) -> dict[str, float]:
        """Weight of each expert: normalized per image (eq. 2), then averaged over images.

        The average is taken by ``mean``, because it steers what leaves the site.
        """
        hosts = sorted(experts)
        if self.settings.distill.weights == "uniform" or len(hosts) < 2:
            return {host: 1 / len(hosts) for host in hosts}

        def per_image(rows: Tensor) -> Tensor:
            return expert_weights(torch.stack(self._agreement(experts, rows))).T

        shares = self.mean(per_image, len(hosts), self._stream(round_index, "similarity"))
        return dict(zip(hosts, shares.tolist(), strict=True))

    def measure_with(self, weights: Weights, split: str) -> tuple[int, int]:
        """``(points, images)`` of a server's weights on own images; the site is left as it was."""
        own = self.weights()
        self.load_shared(weights)
        try:
            return self.measure(self.model, split)
        finally:
            self.load(own)

    @torch.no_grad()
    def finish_round(self) -> None:
        """Let the current weights enter the average over rounds, unless the site is apart."""
        if self.apart:
            return
        if self.average is None:
            self.average = self.weights()
            return
        decay = self.settings.training.average_decay
        for name, parameter in self.model.named_parameters():  # read where they are, uncopied
            if name in self.average:
                self.average[name].lerp_(parameter, 1 - decay)

    @property
    def local_steps(self) -> int:
        """Of a round: so many as the run file says, or as its epochs take on this site's images."""
        federation, batch_size = self.settings.federation, self.settings.training.batch_size
        if federation.local_epochs is None:
            return federation.local_steps
        return -(-federation.local_epochs * len(self.dataset) // batch_size)

    def learning_rate(self, round_index: int) -> float:
        """The rate of this round; each stage, where there are any, begins anew."""
        rounds, place = self.settings.federation.rounds, round_index
        if self.settings.stages is not None:
            rounds, place = self.settings.stages.within(round_index)
        return learning_rate(self.settings.training, rounds, place)

    # Everything that a later process needs to go on, and a failed round to be undone.

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Weights, weight average, optimizer and teachers, as copies."""
        held = {"weights": self.weights(), "optimizer": self.trainer.state()}
        if self.average is not None:
            held["average"] = {name: value.clone() for name, value in self.average.items()}
        for place, expert in enumerate(self.experts):
            held[f"expert{place}"] = expert
        if self.apart:
            held[APART] = {APART: torch.ones(1)}
        return held

    def load_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go on from ``state()``."""
        self.load(dict(state["weights"]))
        self.trainer.load_state(state.get("optimizer", {}))
        average = state.get("average")
        self.average = {n: v.clone() for n, v in average.items()} if average else None
        self.apart = APART in state
        count = sum(key.startswith("expert") for key in state)
        self.experts = [dict(state[f"expert{place}"]) for place in range(count)]

    def _agreement(self, experts: Mapping[str, Weights], rows: Tensor) -> list[Tensor]:
        """Of each expert in the order of the hosts, on the images at ``rows``."""
        images, teacher, found = self.dataset.batch(rows).images, self._teacher(0), []
        own = as_foundation(self.model)
        for host in sorted(experts):
            load_weights(teacher, experts[host])
            found.append(agreement(own, teacher, images, self.settings.distill))
        return found

    def _own_objective(self) -> Objective:
        if self.settings.distill.beta == 0 or not self.experts:
            return self.objective
        teachers = [self._teacher(place) for place in range(len(self.experts))]
        for teacher, weights in zip(teachers, self.experts, strict=True):
            load_weights(teacher, weights)
        return distillation(
            teachers,
            self.settings.distill,
            self.present,
            self.settings.training.absent_penalty,
        )

    def _teacher(self, place: int) -> FoundationModel:
        while len(self._teachers) <= place:
            self._teachers.append(copy.deepcopy(as_foundation(self.model)).eval())
        return self._teachers[place]

    def _stream(self, round_index: int, purpose: str) -> torch.Generator:
        return generator_for(self.settings.seed, self.name, round_index, purpose)


def mean_weights(many: Sequence[Weights], shares: Sequence[float] | None = None) -> Weights:
    """The weighted mean of weights; ``shares`` need not sum to 1, and are equal if not given."""
    shares = shares or [1.0] * len(many)
    total = sum(shares)
    return {
        name: sum(
            (
                weights[name] * (share / total)
                for weights, share in zip(many[1:], shares[1:], strict=True)
            ),
            many[0][name] * (shares[0] / total),
        )
        for name in many[0]
    }

"""Federated algorithms: one algorithm, one file, no network and no files inside."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from fedefm.config import RunConfig, StagewiseConfig
from fedefm.model.weights import Weights
from fedefm.train.assemble import Plan, noise_is_shared
from fedefm.train.exchange import RoundStats, Steps
from fedefm.train.pooled import Pooled
from fedefm.train.rounds.aggregated import aggregated_round
from fedefm.train.rounds.cohort import average_with_cohort
from fedefm.train.rounds.fedavg import fedavg_server_round, fedavg_site_round
from fedefm.train.rounds.fedefm import literal_round, mixed_round, swap_round
from fedefm.train.rounds.gossip import Average, average_with_neighbors, gossip_round
from fedefm.train.rounds.local import local_round
from fedefm.train.rounds.metrics import (
    give_metrics,
    publish_and_give,
    publish_and_take,
    take_metrics,
)
from fedefm.train.rounds.publish import (
    hand_out_server,
    publish_server,
    publish_site,
    receive_site,
)
from fedefm.train.rounds.shared_noise import (
    shared_noise_server_round,
    shared_noise_site_round,
    step_size,
)
from fedefm.train.rounds.stagewise import stagewise_server_round, stagewise_site_round
from fedefm.train.server import Server
from fedefm.train.site import Site


@dataclass(frozen=True)
class Publication:
    """How the global model comes about and reaches everybody after the last round."""

    site: Callable[[Site], Steps[Weights | None]]
    server: Callable[[Server], Steps[Weights | None]]


@dataclass(frozen=True)
class Measurement:
    """How the sites tell, as a sum, what they measured in a round that is over."""

    site: Callable[[Site, int, RoundStats | None], Steps[Pooled | None]]
    server: Callable[[Server, int], Steps[Pooled | None]]


@dataclass(frozen=True)
class Algorithm:
    """What a site does in a round; what the server does, where it has a part; and the end.

    Without ``measurement`` each site tells its own numbers.
    """

    site_round: Callable[[Site, int], Steps[RoundStats]]
    server_round: Callable[[Server, int], Steps[RoundStats]] | None = None
    publication: Publication | None = Publication(publish_site, publish_server)
    measurement: Measurement | None = None


def algorithm_for(run: RunConfig, plan: Plan) -> Algorithm:
    """The algorithm that a run file asks for, among the sites of ``plan``."""
    federation, average = run.federation, _average(plan)
    updates: dict[str, Callable[[Site, int], Steps[RoundStats]]] = {
        "swap": partial(swap_round, average=average),
        "mixed": aggregated_round if federation.expert == "aggregated" else mixed_round,
        "literal": literal_round,
    }
    if run.stagewise is not None:
        algorithm = _in_stages(run.stagewise)
        return algorithm if run.privacy.secagg is None else _measured_in_sums(algorithm)
    algorithms = {
        "fedefm": Algorithm(updates[federation.update]),
        "gossip": Algorithm(partial(gossip_round, average=average)),
        "fedavg": Algorithm(
            fedavg_site_round, fedavg_server_round, Publication(receive_site, hand_out_server)
        ),
        "none": Algorithm(local_round, publication=None),
    }
    algorithm = algorithms[federation.algorithm]
    if noise_is_shared(run):
        algorithm = _with_shared_noise(algorithm, run)
    return algorithm if run.privacy.secagg is None else _measured_in_sums(algorithm)


def _in_stages(stages: StagewiseConfig) -> Algorithm:
    site, server = partial(stagewise_site_round, stages), partial(stagewise_server_round, stages)
    return Algorithm(site, server, Publication(receive_site, hand_out_server))


def _with_shared_noise(fedavg: Algorithm, run: RunConfig) -> Algorithm:
    server = partial(shared_noise_server_round, size=step_size(run))
    return replace(fedavg, site_round=shared_noise_site_round, server_round=server)


def _measured_in_sums(algorithm: Algorithm) -> Algorithm:
    published = algorithm.publication
    if published is not None:
        site = partial(publish_and_give, published.site)
        published = Publication(site, partial(publish_and_take, published.server))
    measurement = Measurement(give_metrics, take_metrics)
    return replace(algorithm, publication=published, measurement=measurement)


def _average(plan: Plan) -> Average:
    if plan.cohorts is None:
        return average_with_neighbors
    return partial(average_with_cohort, plan.cohorts)

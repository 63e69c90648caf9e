"""Federated algorithms: one algorithm, one file, no network and no files inside."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from fedefm.config import RunConfig, StagewiseConfig
from fedefm.errors import ConfigError
from fedefm.train.assemble import Plan, noise_is_shared
from fedefm.train.exchange import RoundStats, Steps
from fedefm.train.pooled import PUBLISHED_SPLITS
from fedefm.train.rounds.aggregated import aggregated_round
from fedefm.train.rounds.algorithm import Algorithm as Algorithm
from fedefm.train.rounds.algorithm import Measurement as Measurement
from fedefm.train.rounds.algorithm import Publication as Publication
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
from fedefm.train.rounds.publish import hand_out_server, receive_site
from fedefm.train.rounds.shared_noise import (
    shared_noise_server_round,
    shared_noise_site_round,
    step_size,
)
from fedefm.train.rounds.stage_metrics import (
    SPLITS_AT_THE_END,
    give_after_stage,
    take_after_stage,
)
from fedefm.train.rounds.stagewise import (
    LAST_STEP,
    LAST_STEP_IF_SECURE,
    stagewise_server_round,
    stagewise_site_round,
)
from fedefm.train.site import Site


def algorithm_for(run: RunConfig, plan: Plan, own: Algorithm | None = None) -> Algorithm:
    """The algorithm that a run file asks for, among the sites of ``plan``; or ``own`` in its place.

    Whichever it is, where sums are secure, what was measured is told in sums alone. Raises
    ConfigError for ``own`` in a run whose rounds are made for noise in shares.
    """
    if noise_is_shared(run) and own is not None:
        raise ConfigError(
            f"algorithm {own.name!r} was handed in, and privacy.secagg.noise_shares has rounds of "
            "its own; leave it out of the run file"
        )
    algorithm = _named(run, plan) if own is None else own
    return algorithm if run.privacy.secagg is None else _measured_in_sums(algorithm, run.stagewise)


def _named(run: RunConfig, plan: Plan) -> Algorithm:
    federation, average = run.federation, _average(plan)
    updates: dict[str, Callable[[Site, int], Steps[RoundStats]]] = {
        "swap": partial(swap_round, average=average),
        "mixed": aggregated_round if federation.expert == "aggregated" else mixed_round,
        "literal": literal_round,
    }
    if run.stagewise is not None:
        last_step = LAST_STEP if run.privacy.secagg is None else LAST_STEP_IF_SECURE
        return _in_stages(run.stagewise, last_step)
    algorithms = {
        "fedefm": Algorithm(updates[federation.update]),
        "gossip": Algorithm(partial(gossip_round, average=average)),
        "fedavg": Algorithm(
            fedavg_site_round, fedavg_server_round, Publication(receive_site, hand_out_server)
        ),
        "none": Algorithm(local_round, publication=None),
    }
    algorithm = algorithms[federation.algorithm]
    return _with_shared_noise(algorithm, run) if noise_is_shared(run) else algorithm


def _in_stages(stages: StagewiseConfig, last_step: int) -> Algorithm:
    site = partial(stagewise_site_round, stages, last_step=last_step)
    server = partial(stagewise_server_round, stages)
    return Algorithm(site, server, Publication(receive_site, hand_out_server))


def _with_shared_noise(fedavg: Algorithm, run: RunConfig) -> Algorithm:
    server = partial(shared_noise_server_round, size=step_size(run))
    return replace(fedavg, site_round=shared_noise_site_round, server_round=server)


def _measured_in_sums(algorithm: Algorithm, stages: StagewiseConfig | None) -> Algorithm:
    published, measurement = algorithm.publication, Measurement(give_metrics, take_metrics)
    if stages is not None:
        give, take = partial(give_after_stage, stages), partial(take_after_stage, stages)
        measurement = Measurement(give, take)
    if published is not None:
        splits = PUBLISHED_SPLITS if stages is None else SPLITS_AT_THE_END
        site = partial(publish_and_give, published.site, splits=splits)
        server = partial(publish_and_take, published.server, splits=splits)
        published = Publication(site, server)
    return replace(algorithm, publication=published, measurement=measurement)


def _average(plan: Plan) -> Average:
    if plan.cohorts is None:
        return average_with_neighbors
    return partial(average_with_cohort, plan.cohorts)

"""From a run file and a site's images to a ``Site``, the same wherever a run happens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import networkx as nx
import torch

from fedefm.config import DatasetEntry, RunConfig, SiteConfig, TrainingConfig, read_site
from fedefm.config.names import ScanMode
from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.loading import Splits, training_rows
from fedefm.data.manifest import Manifest, read_manifest
from fedefm.data.transforms import Transform, light, light_views
from fedefm.data.unlabeled import refuse_labels
from fedefm.distill.emd import pool_tokens
from fedefm.errors import ConfigError, PolicyRefused
from fedefm.model.weights import weights_of
from fedefm.topology.graphs import build_graph
from fedefm.topology.grid import Grid
from fedefm.topology.mixing import metropolis
from fedefm.topology.participation import Asked, asked_by_share
from fedefm.topology.schedules import EveryNth, Schedule, build_schedule
from fedefm.topology.stages import asked_by_stage
from fedefm.train.curation import Curator
from fedefm.train.exchange import SERVER, Sum, plain_sum
from fedefm.train.measure import Measure, measure_nothing
from fedefm.train.optimization import Optimization, adamw, momentum_sgd
from fedefm.train.pretext import Pretrained, Trained, pretext_of, product_of
from fedefm.train.protection import Protection, Unprotected, plain_mean
from fedefm.train.secrecy import Secrecy
from fedefm.train.server import Server
from fedefm.train.single_releases import single_releases
from fedefm.train.site import Site, SiteSettings
from fedefm.train.site_tasks import SHARED
from fedefm.train.start import StartingPoint
from fedefm.train.trainer import PlainTrainer

UNPROTECTED_COHORT = 2  # the default of a site file; a mean over two hides nothing


@dataclass(frozen=True)
class Plan:
    """Who may exchange, who does in which round, and with which weight.

    Where there are ``cohorts``, these take the means, and ``schedule`` says who meets otherwise.
    Who is not ``asked`` rests in a round.
    """

    sites: tuple[str, ...]
    graph: nx.Graph
    schedule: Schedule
    mixing: Mapping[str, Mapping[str, float]]
    asked: Asked
    cohorts: Grid | None = None

    def links(self, run: RunConfig) -> list[tuple[str, str]]:
        """Between whom models may go directly: those of the graph, but for means in cohorts.

        In a cohort everybody is its collector in turn.
        """
        if self.cohorts is None:
            return list(self.graph.edges)
        rounds = range(run.federation.rounds)
        together = {
            pair for k in rounds for c in self.cohorts.cohorts(k) for pair in combinations(c, 2)
        }
        if run.federation.algorithm == "fedefm":  # experts go along the graph
            together |= {(min(link), max(link)) for link in self.graph.edges}
        return sorted(together)


def find_manifest(site_file: Path, dataset: str) -> Manifest:
    """What ``dataset`` means at the site of ``site_file``. Raises ConfigError, DataError."""
    entry = _entry(site_file, dataset)
    manifest = read_manifest(site_file.parent / entry.manifest)
    if entry.unlabeled:
        refuse_labels(manifest, f"dataset {dataset!r} of {site_file}")
    return manifest


def scan_mode_at(site_file: Path, dataset: str) -> ScanMode | None:
    """That of all images of ``dataset``, where the site of ``site_file`` says so.

    Raises ConfigError.
    """
    return _entry(site_file, dataset).scan_mode


def check_promises(site: SiteConfig, run: RunConfig, name: str) -> None:
    """Raises PolicyRefused where the site's file demands what this run, or this version, lacks.

    What it says to a private run is the privacy packages' part; see ``Protect.check``.
    """
    policy, refusals = site.policy, []
    cap = "" if policy.epsilon_cap is None else f" at {policy.epsilon_cap:g}"
    if run.privacy.dp is None and policy.require_dp:
        refusals.append("requires differential privacy, and privacy.dp is not set in the run file")
    if run.privacy.dp is None and cap:
        refusals.append(
            f"caps epsilon{cap}, which a run without differential privacy would exceed; set "
            "privacy.dp in the run file"
        )
    if policy.min_cohort > UNPROTECTED_COHORT:
        refusals += _unhidden(policy.min_cohort, run)
    if refusals:
        told = f"site {name!r} " + "; ".join(refusals)
        keeps = "budget" not in policy.allowed_metrics
        raise PolicyRefused(
            told, told.replace(f"caps epsilon{cap}", "caps epsilon") if keeps else ""
        )


def _unhidden(min_cohort: int, run: RunConfig) -> list[str]:
    """What the run would show of one site; where the cohorts are too small, ``Hide`` says so."""
    if run.privacy.secagg is None:
        return [
            f"demands to be hidden among {min_cohort} others (policy.min_cohort), which takes "
            "secure sums; set privacy.secagg in the run file"
        ]
    single = single_releases(run)
    if run.privacy.dp is not None or not single:
        return []
    return [
        f"demands to be hidden among {min_cohort} others (policy.min_cohort), and the run hands "
        f"{' and '.join(single)} to single sites, where no secure sum hides them; set privacy.dp "
        "in the run file, or take algorithm 'gossip' or 'fedavg', which have no experts"
    ]


def refuse_unprotected(run: RunConfig, site: str, private: bool) -> None:
    """Raises PolicyRefused where ``run`` is to be private and ``site`` is not."""
    if run.privacy.dp is not None and not private:
        raise PolicyRefused(
            f"site {site!r} would train without differential privacy, and privacy.dp is set; "
            "start the run with `fedefm run`, or hand in a Protection for each site"
        )


def _entry(site_file: Path, dataset: str) -> DatasetEntry:
    site = read_site(site_file)
    if dataset not in site.datasets:
        known = ", ".join(sorted(site.datasets)) or "none"
        raise ConfigError(
            f"dataset {dataset!r} is not in {site_file}, which knows {known}; "
            f"the site's owner can add it there"
        )
    return site.datasets[dataset]


def load_data(
    site: str,
    manifest: Manifest,
    run: RunConfig,
    progress: Progress | None = None,
    scan_mode: ScanMode | None = None,
) -> Splits:
    """Decode a site's images as the run file wants them.

    ``scan_mode`` is of all of them, and only matters to training.
    """
    return pretext_of(run, site).load(manifest, run.model, progress, scan_mode)


def plan_exchanges(run: RunConfig, sites: Sequence[str], graph: nx.Graph | None = None) -> Plan:
    """Graph, schedule and mixing weights. Raises ConfigError where they do not fit the sites.

    ``graph`` stands for the run file's topology where that file is out of reach, as in a job.
    """
    federation = run.federation
    graph = build_graph(federation.topology, sites) if graph is None else graph
    if federation.schedule == "grid":  # cohorts are for means; experts go to and fro in pairs
        pairs = build_schedule("matchings", graph, run.seed)
        schedule: Schedule = EveryNth(pairs, federation.expert_every)
    else:
        schedule = build_schedule(federation.schedule, graph, run.seed)
    if federation.schedule == "neighbors":
        mixing: Mapping[str, Mapping[str, float]] = metropolis(graph)
    else:  # one partner a round: the pair meets in the middle
        mixing = {site: dict.fromkeys(sites, 0.5) for site in sites}
    return Plan(tuple(sites), graph, schedule, mixing, _asked(run, sites), _cohorts(run, graph))


def _asked(run: RunConfig, sites: Sequence[str]) -> Asked:
    """Whom a server asks: the sites of a stage where there are any, else a share of all."""
    together = 1 if run.privacy.secagg is None else _least_to_hide(run)
    if run.stagewise is not None:
        return asked_by_stage(run.stagewise.stages, sites, together)
    return asked_by_share(sites, run.federation.participation, run.seed, together)


def _cohorts(run: RunConfig, graph: nx.Graph) -> Grid | None:
    """A grid where the run file asks for one; else one cohort of all, where its mean is hidden.

    On a complete graph all neighborhoods are the same, and one sum serves them all.
    """
    federation, sites = run.federation, sorted(graph)
    if federation.schedule == "grid":
        experts = federation.expert_every if federation.algorithm == "fedefm" else None
        return Grid(sites, federation.cohort, experts, least=_least_to_hide(run))
    everybody = graph.number_of_edges() == len(sites) * (len(sites) - 1) // 2 > 0
    averages = federation.algorithm == "gossip" and federation.schedule == "neighbors"
    if run.privacy.secagg is not None and averages and everybody:
        return Grid(sites, len(sites))
    return None


def _least_to_hide(run: RunConfig) -> int:
    """The fewest sites whose mean hides one of them, where means are to hide."""
    secagg = run.privacy.secagg
    return 2 if secagg is None else max(UNPROTECTED_COHORT, secagg.colluders + 1) + 1


def build_model(run: RunConfig, start: StartingPoint | None = None) -> Pretrained:
    """What comes out of the run, before its first round; the same numbers in every process.

    ``start`` is what ``model.start`` of the run file means; without it the backbone is fresh, which
    is enough to know names and shapes, or where all that is not trained is filled in afterwards.
    """
    built = product_of(run).build(run.model, run.seed)
    if start is not None:
        start.load_into(built)
    return built


def build_site_model(run: RunConfig, site: str, start: StartingPoint | None = None) -> Trained:
    """The model that ``site`` trains: where all learn the same, that which comes out of the run."""
    built = pretext_of(run, site).build(run.model, run.seed)
    if start is not None:
        start.load_into(built)
    return built


def check_model(run: RunConfig) -> None:
    """Raises ModelError where settings of model, tasks and distillation do not fit each other."""
    model = build_model(run)
    for site in () if run.stagewise is None else run.stagewise.tasks:
        build_site_model(run, site)
    if run.federation.algorithm == "fedefm" and run.distill.pool is not None:
        size = run.model.image_size
        with torch.no_grad():
            pool_tokens(model.dense_features(torch.zeros(1, 1, size, size)), run.distill.pool)


def build_site(
    name: str,
    data: FrameDataset,
    run: RunConfig,
    plan: Plan,
    protection: Protection | None = None,
    start: StartingPoint | None = None,
    secrecy: Secrecy | None = None,
    measure: Measure = measure_nothing,
) -> Site:
    """One site, ready for its first round. ``measure`` is for runs that tell sums alone.

    Raises PolicyRefused for a private run without protection, or one with secure sums without
    secrecy, and ConfigError where the run file names a start and none is given.
    """
    from_server = run.stagewise is not None  # which hands its encoder out before any step
    if run.model.start is not None and start is None and not from_server:
        raise ConfigError(
            f"model.start is {run.model.start!r} and nothing was loaded for it; run it in one "
            "process with `fedefm run`, or hand in a StartingPoint"
        )
    refuse_unprotected(run, name, protection is not None and protection.private)
    guard = protection or unprotected(data, run)
    _refuse_other_noise(run, name, guard)
    size = len(data) if guard.size is None else guard.size
    present = data.present if guard.labels is None else _among(guard.labels, data.classes)
    return Site(
        name=name,
        model=build_site_model(run, name, start),
        trainer=guard.trainer,
        dataset=data,
        schedule=plan.schedule,
        mixing=plan.mixing[name],
        settings=SiteSettings(run.seed, run.training, run.federation, run.distill, run.stagewise),
        mean=guard.mean,
        release=guard.release,
        measures=guard.measures,
        present=present,
        objective=pretext_of(run, name).objective(present, run.training),
        share=share_of(run, size, name),
        size=size,
        everyone=frozenset(plan.sites),
        asked=plan.asked,
        sum=sum_of(run, name, secrecy),
        noisy_sum=guard.noisy_sum,
        measure=measure,
        shared=SHARED if from_server else "",
    )


def _refuse_other_noise(run: RunConfig, site: str, guard: Protection) -> None:
    """Raises PolicyRefused where the site would make its noise alone, or share it, unasked."""
    if noise_is_shared(run) != (guard.noisy_sum is not None):
        raise PolicyRefused(
            f"site {site!r} is protected by noise that it does "
            f"{'not ' if noise_is_shared(run) else ''}share, and the run file asks for the "
            "opposite (privacy.secagg.noise_shares); start the run with `fedefm run`"
        )


def noise_is_shared(run: RunConfig) -> bool:
    """Whether sites make the noise of a step together."""
    return run.privacy.secagg is not None and run.privacy.secagg.noise_shares is not None


def sum_of(run: RunConfig, party: str, secrecy: Secrecy | None) -> Sum:
    """How ``party`` adds up. Raises PolicyRefused where sums are to be secure and would not be."""
    if run.privacy.secagg is None:
        return plain_sum
    if secrecy is None:
        raise PolicyRefused(
            f"{party!r} would show its part of every sum, and privacy.secagg is set; start the run "
            "with `fedefm run`, or hand in a Secrecy for each party"
        )
    return secrecy.sum


def check_share(run: RunConfig, site: str, manifest: Manifest) -> None:
    """Raises ConfigError where ``site`` has more images than the run's secure sums allow for.

    A private run counts by the site's policy instead; see ``Protect.check``.
    """
    if run.privacy.secagg is not None and run.privacy.dp is None:
        share_of(run, len(training_rows(manifest)), site)


def share_of(run: RunConfig, size: int, site: str) -> float:
    """A site's weight in a mean over sites; in secure sums at most 1, and 1 for the largest site.

    Raises ConfigError where ``size`` is beyond what the run file allows for.
    """
    if run.privacy.secagg is None:
        return float(size)
    if noise_is_shared(run):  # all add equally much noise, and count equally
        return 1.0
    largest = run.privacy.secagg.largest_site
    if size > largest:
        raise ConfigError(
            f"site {site!r} has more to train on than privacy.secagg.largest_site, {largest}, "
            "allows for; set it to at least the size of the largest site, and not far above"
        )
    return size / largest


def unprotected(data: FrameDataset, run: RunConfig) -> Protection:
    """Plain training: everything is measured, and everything leaves."""
    training = run.training
    trainer = PlainTrainer(
        data,
        training.batch_size,
        optimization_of(training),
        training.gradient_norm,
        transform_of(run),
    )
    return Protection(trainer, plain_mean(len(data)), Unprotected(), measures=True)


def _among(labels: Sequence[str], classes: Sequence[str]) -> torch.Tensor:
    """``(K,)`` bool: which of ``classes`` are among ``labels``."""
    return torch.tensor([name in labels for name in classes], dtype=torch.bool)


def build_server(
    run: RunConfig,
    plan: Plan,
    start: StartingPoint | None = None,
    secrecy: Secrecy | None = None,
    curator: Curator | None = None,
) -> Server:
    """The server's part; in the decentralized scenario it only takes the last sum."""
    weights = weights_of(build_model(run, start))
    total = sum_of(run, SERVER, secrecy)
    decay, rounds = run.training.average_decay, run.federation.rounds
    return Server(plan.sites, plan.asked, weights, decay, rounds, total, curator=curator)


def merged(datasets: Sequence[FrameDataset]) -> FrameDataset:
    """All sites' images in one place: the centralized reference, never a federation."""
    patients, offset = [], 0
    for dataset in datasets:
        patients.append(dataset.patients + offset)
        offset += int(dataset.patients.max()) + 1
    return datasets[0].alike(
        images=torch.cat([dataset.images for dataset in datasets]),
        labels=torch.cat([dataset.labels for dataset in datasets]),
        patients=torch.cat(patients),
    )


def optimization_of(training: TrainingConfig) -> Optimization:
    """By which rule a site takes its steps."""
    if training.optimizer == "adamw":
        return adamw(training.weight_decay)
    return momentum_sgd(training.momentum)


def transform_of(run: RunConfig) -> Transform | None:
    """How training images are varied; those to be painted without noise, which nobody can paint."""
    if run.training.augment == "none":
        return None
    return light() if run.masking is None else light_views()

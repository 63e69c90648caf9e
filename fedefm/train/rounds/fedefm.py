"""FedEFM: a site's weights travel to its neighbors, are trained there, and come back as experts.

Three updates, each its own generator (equations: Do et al., ICRA 2025, arXiv 2501.16992):

* ``swap_round``, the default, an extension of the paper. One partner a round. Most rounds average
  the pair, or a cohort; every q-th is an expert round, after which both partners hold the mean of
  the expert that came home and the guest that was trained here.
* ``mixed_round``, for dense graphs, an extension. Own weights, experts and guests are mixed.
  ``fedefm.train.rounds.aggregated`` is its form in which no single expert is seen.
* ``literal_round``, the paper as printed: experts teach by distillation, weights are never mixed.
  Knowledge then travels one hop, as logits on the site's own images; see docs/results.md.

A phase is sequential: own steps first, so that what travels is what was just learned. Momentum
stays at the site and is never reset. Whoever does not answer is left out of the mean.
"""

from collections.abc import Mapping

from torch import Tensor

from fedefm.model.weights import Weights
from fedefm.topology.mixing import reweighted
from fedefm.train.exchange import Exchange, Inbox, RoundStats, Steps
from fedefm.train.rounds.gossip import Average, average_with_neighbors
from fedefm.train.site import Site, mean_weights
from fedefm.train.trainer import FitStats

EXPERT_RATE = 0.5  # eta and eta_g of the mixed update


def swap_round(
    site: Site, round_index: int, average: Average = average_with_neighbors
) -> Steps[RoundStats]:
    """Take a mean, or every ``expert_every``-th round exchange experts with one partner."""
    stats = site.train_locally(round_index)
    if (round_index + 1) % site.settings.federation.expert_every:
        yield from average(site, round_index)
        return round_stats(site, round_index, stats, {})

    own = site.weights()
    inbox = yield from send_weights(site, round_index, own)
    guests, experts = yield from _host_and_return(site, inbox, round_index)
    site.welcome(experts)
    similarity = site.similarity(experts, round_index)
    pairs = [_pair_mean(own, inbox[p], experts.get(p), guests[p]) for p in sorted(guests)]
    site.load(mean_weights(pairs) if pairs else own)
    return round_stats(site, round_index, stats, similarity)


def mixed_round(site: Site, round_index: int) -> Steps[RoundStats]:
    """Mix neighbors' weights by W, then add what experts (weighted by EMD) and guests learned.

    ``theta_i = sum_j W_ij phi_j + eta sum_j s_ij (E_ij - phi_i) + eta_g mean_j (E_ji - phi_j)``
    """
    stats = site.train_locally(round_index)
    own = site.weights()
    inbox = yield from send_weights(site, round_index, own)
    guests, experts = yield from _host_and_return(site, inbox, round_index)
    site.welcome(experts)
    similarity = site.similarity(experts, round_index)
    site.load(mixed_weights(own, inbox, guests, experts, site, round_index))
    return round_stats(site, round_index, stats, similarity)


def literal_round(site: Site, round_index: int) -> Steps[RoundStats]:
    """Eqs. 1, 2 and 11 as printed. Round 0 trains on the own images only."""
    experts: dict[str, Weights] = {}
    if round_index > 0:
        inbox = yield from send_weights(site, round_index, site.weights())
        _, experts = yield from _host_and_return(site, inbox, round_index)
    similarity = site.similarity(experts, round_index)
    site.experts = [experts[host] for host in sorted(experts)]
    stats = site.train_locally(round_index)
    return round_stats(site, round_index, stats, similarity)


def mixed_weights(
    own: Weights,
    inbox: Inbox,
    guests: Mapping[str, Weights],
    experts: Mapping[str, Weights],
    site: Site,
    round_index: int,
) -> Weights:
    """The sum in ``mixed_round``: ``inbox`` by W, experts by trust, guests alike."""
    shares = reweighted(site.mixing, set(inbox), site.name)
    everyone = {site.name: own, **inbox}
    mixed = mean_weights([dict(everyone[n]) for n in shares], list(shares.values()))
    trust = site.trust(experts, round_index)
    for host, expert in experts.items():
        _add(mixed, expert, own, EXPERT_RATE * trust[host])
    for guest, trained in guests.items():
        _add(mixed, trained, inbox[guest], EXPERT_RATE / len(guests))
    return mixed


def send_weights(site: Site, round_index: int, own: Weights) -> Steps[Inbox]:
    """To each neighbor of this round, whole; what came from them."""
    return (
        yield Exchange(
            phase="weights",
            outgoing=dict.fromkeys(site.partners(round_index), own),
            expect=site.sources(round_index),
            shapes=site.shapes,
        )
    )


def host_all(site: Site, inbox: Inbox, round_index: int) -> dict[str, Weights]:
    """Train what arrived on the own images; the results by whose weights they were."""
    return {guest: site.host(dict(inbox[guest]), round_index, guest) for guest in sorted(inbox)}


def _host_and_return(
    site: Site, inbox: Inbox, round_index: int
) -> Steps[tuple[dict[str, Weights], dict[str, Weights]]]:
    """Train what arrived and send it home: ``(guests trained here, experts that came back)``."""
    guests = host_all(site, inbox, round_index)
    returned = yield Exchange(
        phase="expert",
        outgoing=guests,
        expect=site.partners(round_index),
        shapes=site.shapes,
    )
    return guests, {host: dict(weights) for host, weights in returned.items()}


def _pair_mean(
    own: Weights, partner: Mapping[str, Tensor], expert: Weights | None, guest: Weights
) -> Weights:
    """The mean of both experts; the plain average of the pair where ours did not come back."""
    if expert is None:
        return mean_weights([own, dict(partner)])
    return mean_weights([expert, guest])


def _add(total: Weights, target: Weights, origin: Mapping[str, Tensor], rate: float) -> None:
    for name, value in total.items():
        value.add_(target[name] - origin[name], alpha=rate)


def round_stats(
    site: Site, round_index: int, fit: FitStats, similarity: Mapping[str, Tensor]
) -> RoundStats:
    """What the site may tell of its round; ``similarity`` by expert."""
    return RoundStats(
        loss=fit.loss,
        learning_rate=site.learning_rate(round_index),
        train_seconds=fit.seconds,
        similarity={host: float(values.mean()) for host, values in similarity.items()},
    )

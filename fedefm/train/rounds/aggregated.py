"""FedEFM's mixed update with the mean of a neighborhood's experts in place of single ones.

A single expert is what one neighbor's images made of our weights; no sum can hide it. Their mean
can be a secure sum: each neighbor gives its expert into one sum for us. It is our one teacher, and
enters our weights as all experts together do in ``mixed_round`` with equal weights. What EMD would
have weighted differently cannot be told apart any more; how much the mean agrees with us still can.

The hosts agree on which weights they trained: who lends different ones to each could take the
experts of the others off the mean.
"""

from collections.abc import Mapping
from dataclasses import replace

from fedefm.model.weights import Weights, flatten, unflatten
from fedefm.train.exchange import Inbox, Occasion, RoundStats, Steps
from fedefm.train.message import digest
from fedefm.train.rounds.fedefm import host_all, mixed_weights, round_stats, send_weights
from fedefm.train.site import Site

NEIGHBORHOOD = "all neighbors"  # whose expert it is, in the log


def aggregated_round(site: Site, round_index: int) -> Steps[RoundStats]:
    """``theta_i = sum_j W_ij phi_j + eta (mean_j E_ij - phi_i) + eta_g mean_j (E_ji - phi_j)``.

    The mean is over the neighbors whose expert came home.
    """
    stats = site.train_locally(round_index)
    own = site.weights()
    inbox = yield from send_weights(site, round_index, own)
    guests = host_all(site, inbox, round_index)
    experts = yield from _mean_expert(site, own, inbox, guests, round_index)
    site.welcome(experts)
    similarity = site.similarity(experts, round_index)
    site.load(mixed_weights(own, inbox, guests, experts, site, round_index))
    return round_stats(site, round_index, stats, similarity)


def _mean_expert(
    site: Site, own: Weights, lent: Inbox, guests: Mapping[str, Weights], round_index: int
) -> Steps[dict[str, Weights]]:
    """The mean of our experts under one name, nothing where none came; and our guests' parts."""
    parts = {}
    for owner, trained in guests.items():
        cohort = replace(site.hosts(owner, round_index), agreed=digest(lent[owner]))
        parts[cohort] = flatten(trained) / len(cohort.members)
    hosts = replace(site.hosts(site.name, round_index), agreed=digest(own))
    length = flatten(own).numel()
    total = yield from site.sum(Occasion(round_index, "experts", length), parts, hosts)
    if not total.members:
        return {}
    present = len(total.members) / len(hosts.members)
    return {NEIGHBORHOOD: unflatten(total.vector / present, own)}

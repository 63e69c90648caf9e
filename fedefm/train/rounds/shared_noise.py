"""FedAvg of single private steps whose noise all sites make together.

With one local step, no momentum and equal sites, the mean of the sites' weights is one step along
the mean of their gradients (FedSGD; McMahan et al., AISTATS 2017, section 2). A site gives its sum
of gradients with a share of the noise, and the server takes the step, since no site may hold a
model that moved by its own share alone.
"""

from collections.abc import Callable

from fedefm.config import RunConfig
from fedefm.errors import PolicyRefused, ProtocolError
from fedefm.model.weights import flatten, unflatten
from fedefm.train.exchange import SERVER, Cohort, Exchange, Occasion, RoundStats, Steps
from fedefm.train.message import digest
from fedefm.train.rates import learning_rate
from fedefm.train.server import Server
from fedefm.train.site import Site

StepSize = Callable[[int], float]


def step_size(run: RunConfig) -> StepSize:
    """How far the model moves along the mean of the sites' sums, by round.

    A sum is over ``patients_per_step`` patients in the mean, at every site.
    """
    dp, rounds = run.privacy.dp, run.federation.rounds
    if dp is None:
        raise PolicyRefused("privacy.dp is not set, so there is no noise that sites could share")
    expected = dp.patients_per_step
    return lambda round_index: learning_rate(run.training, rounds, round_index) / expected


def shared_noise_site_round(site: Site, round_index: int) -> Steps[RoundStats]:
    """Take the server's model, compute one private step, give it to the sum and keep nothing.

    Raises ProtocolError where the model did not come: nothing is spent on an old one.
    """
    if site.noisy_sum is None:
        raise PolicyRefused(f"site {site.name!r} was not built to share its noise")
    inbox = yield Exchange("model", {}, frozenset({SERVER}), site.shapes)
    if SERVER not in inbox:
        raise ProtocolError("the server's model did not come, and no step was taken on an old one")
    site.load(dict(inbox[SERVER]))
    site.handed = digest(inbox[SERVER])
    stats = site.train_locally(round_index)
    part = flatten(site.noisy_sum())
    cohort = Cohort(SERVER, site.everyone, agreed=site.handed)
    yield from site.sum(_occasion(round_index, part.numel()), {cohort: part}, None)
    return RoundStats(learning_rate=site.learning_rate(round_index), train_seconds=stats.seconds)


def shared_noise_server_round(
    server: Server, round_index: int, size: StepSize
) -> Steps[RoundStats]:
    """Hand out the model, and move it along the mean of the sums of those who are in the total."""
    everyone = frozenset(server.sites)
    handed_out = dict.fromkeys(server.sites, server.weights)
    yield Exchange("model", handed_out, frozenset(), server.shapes)
    server.handed = digest(server.weights)
    weights = flatten(server.weights)
    cohort = Cohort(SERVER, everyone, agreed=server.handed)
    total = yield from server.sum(_occasion(round_index, weights.numel()), {}, cohort)
    if total.members:
        moved = weights - size(round_index) / len(total.members) * total.vector
        server.load(unflatten(moved, server.weights))
    server.finish_round()
    return RoundStats(unmoved=not total.members)


def _occasion(round_index: int, length: int) -> Occasion:
    return Occasion(round_index, "sum", length, noisy=True)

"""No federation: every site trains on its own images only. The lower reference of every table."""

from fedefm.train.exchange import RoundStats, Steps
from fedefm.train.site import Site


def local_round(site: Site, round_index: int) -> Steps[RoundStats]:
    """``local_steps`` on the own images; nothing is sent."""
    stats = site.train_locally(round_index)
    yield from ()
    return RoundStats(
        loss=stats.loss,
        learning_rate=site.learning_rate(round_index),
        train_seconds=stats.seconds,
    )

"""From a run file to the noise that its sites make together, the same at every party."""

from collections.abc import Callable
from functools import partial
from typing import NoReturn

from fedefm.config import RunConfig
from fedefm.errors import ConfigError, PolicyRefused
from fedefm.train.assemble import build_model
from privacy.secagg.noise_shares import NoiseShares, least_others, noise_shares


def honest_shares(run: RunConfig) -> int:
    """Of how many sites' noise a step's is counted as made; 1: each site adds all of its own."""
    secagg = run.privacy.secagg
    return 1 if secagg is None or secagg.noise_shares is None else secagg.noise_shares.honest


def shares_by_length(run: RunConfig) -> Callable[[int], NoiseShares] | None:
    """What each site adds to a sum of so many numbers; None where it adds all of its own noise."""
    dp, secagg = run.privacy.dp, run.privacy.secagg
    if dp is None or secagg is None or secagg.noise_shares is None:
        return None
    return partial(noise_shares, dp, secagg)


def shares_of_model(run: RunConfig) -> NoiseShares | None:
    """The same for all that is trained of the run's model.

    Raises ConfigError where rounding to the ring would cost too much.
    """
    by_length = shares_by_length(run)
    if by_length is None:
        return None
    parameters = build_model(run).parameters()
    return by_length(sum(part.numel() for part in parameters if part.requires_grad))


def refuse_too_few(run: RunConfig, sites: int) -> None:
    """Raises ConfigError where no sum of the run could ever have shares enough to be opened."""
    secagg = run.privacy.secagg
    if secagg is None or secagg.noise_shares is None:
        return
    needed = least_others(secagg) + 1
    if sites < needed:
        raise ConfigError(
            f"privacy.secagg.noise_shares counts on {secagg.noise_shares.honest} honest sites in "
            f"each sum beside {secagg.colluders} that may collude, which takes {needed} sites, and "
            f"the run has {sites}; lower noise_shares.honest, or let more sites take part"
        )


def no_mean(*_: object) -> NoReturn:
    """Stands for a private mean, which would be a release of the site's own, with full noise."""
    raise PolicyRefused("where sites share their noise, nothing is released of one site alone")

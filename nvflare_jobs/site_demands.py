"""What the sites' own files have against the secure sums that a run plans, and the ways out."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from fedefm.config import PolicyConfig, SecaggConfig, read_site
from privacy.secagg.sum_plan import SumPlan

_Way = Literal["cohort", "neighborhood", "server"]  # whose sum it is


def unmet_demands(
    site_files: Mapping[str, Path], settings: SecaggConfig, planned: SumPlan
) -> list[str]:
    """One sentence for each demand that the planned sums do not meet, with what to set instead.

    ``site_files`` are those within reach: all of them in one process, the own one at a site.
    """
    policies = {site: read_site(file).policy for site, file in site_files.items()}
    told = (*_too_small(policies, settings, planned), *_too_trusting(policies, settings))
    return list(dict.fromkeys(told))  # sums of several kinds may have one way out


def _too_small(
    policies: Mapping[str, PolicyConfig], settings: SecaggConfig, planned: SumPlan
) -> Iterator[str]:
    """Who would not give its part, by how small the cohort is and how large it must be."""
    unwilling: dict[tuple[int, int, _Way], set[str]] = {}
    for total in planned.sums:
        others, joins = len(total.weights) - 1, total.receiver in total.weights
        for site in total.senders & policies.keys():
            demanded = policies[site].min_cohort
            if others < demanded:
                way = _way(joins, total.receiver in planned.sites)
                unwilling.setdefault((others, demanded, way), set()).add(site)
    for (others, demanded, way), sites in sorted(unwilling.items()):
        among = "1 other" if others == 1 else f"{others} others"
        yield (
            f"{', '.join(sorted(sites))} would be hidden among {among}, and the site file demands "
            f"{demanded} (policy.min_cohort); "
            f"{_larger(len(planned.sites), demanded + 1, way)}"
            f"{', or the site file must demand less' if _could_do(others, settings) else ''}"
        )


def _way(joins: bool, receiver_is_a_site: bool) -> _Way:
    if joins:
        return "cohort"
    return "neighborhood" if receiver_is_a_site else "server"


def _larger(count: int, parts: int, way: _Way) -> str:
    """How a sum comes to have so many ``parts``.

    A neighborhood's goes to a site that gives no part itself, and so comes on top of them.
    """
    needed = parts + (way == "neighborhood")
    if count < needed:
        return f"at least {needed} sites must take part, and there are {count}"
    if way == "neighborhood":
        return f"link each site with {parts} others or more (federation.topology)"
    if way == "server":  # which asks all sites, unless it is told to ask some, or one stage
        return (
            "leave out federation.participation, or set it higher, or name more sites in each of "
            "stagewise.stages"
        )
    return f"set federation.schedule to 'grid' and federation.cohort to {parts} or more"


def _could_do(others: int, settings: SecaggConfig) -> bool:
    """Whether a site could be content with so few others; the run's colluders are among them."""
    return others > max(1, settings.colluders)


def _too_trusting(policies: Mapping[str, PolicyConfig], settings: SecaggConfig) -> Iterator[str]:
    """Who reckons with more colluders than the run's thresholds and its check of the topology."""
    for site, policy in sorted(policies.items()):
        if policy.colluders > settings.colluders:
            yield (
                f"site {site!r} reckons with {policy.colluders} colluding sites "
                f"(policy.colluders), and the run with {settings.colluders}; set "
                f"privacy.secagg.colluders to {policy.colluders} or more"
            )

"""Who takes part in a round where a server asks only some of the sites.

McMahan et al., AISTATS 2017, algorithm 1: a share of the sites is drawn anew in every round. The
draw comes from the run's seed, so that every party knows it without being told, and nobody can
choose whom a sum is made of.
"""

import math
from collections.abc import Callable, Sequence

import torch

from fedefm.seeding import generator_for

Asked = Callable[[int], frozenset[str]]
"""``asked(round_index)``: the sites that take part in a round, if none fails."""

ROUNDING = 1e-9  # 0.1 of 30 sites are 3, though the product of the floats is a little more


def asked_by_share(sites: Sequence[str], share: float, seed: int, together: int = 1) -> Asked:
    """``share`` of the sites, rounded up; all of them in every round where it is 1.

    With ``together`` above 1 the sites stand in fixed groups of at least so many, and whole groups
    are asked: from sums over ever other sites, what sets a single one apart could be told (So et
    al., "Securing secure aggregation", AAAI 2023).

    Draws of different rounds know nothing of each other: a site may rest several rounds in a row.
    """
    groups = _groups(sorted(sites), max(1, len(sites) // together), seed)
    count = max(1, math.ceil(share * len(groups) - ROUNDING))

    def asked(round_index: int) -> frozenset[str]:
        rng = generator_for(seed, "server", round_index, "participation")
        drawn = torch.randperm(len(groups), generator=rng)[:count].tolist()
        return frozenset(name for place in drawn for name in groups[place])

    return asked


def _groups(names: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """All names, divided at random."""
    order = torch.randperm(len(names), generator=generator_for(seed, "server", 0, "groups"))
    shuffled = [names[place] for place in order.tolist()]
    return [shuffled[k::count] for k in range(count)]

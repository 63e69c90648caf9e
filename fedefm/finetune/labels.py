"""What if only a few patients had been annotated?"""

import torch
from torch import Tensor

from fedefm.errors import ConfigError
from fedefm.seeding import stream_seed


def labeled_rows(patients: Tensor, fraction: float, seed: int) -> Tensor:
    """The rows of a seeded share of the patients, ``(M,)`` int64 in ascending order.

    Whole patients are taken, at least one. For one seed the subsets are nested: the patients of 5 %
    are among those of 10 %, so a curve over fractions compares more labels, not other labels.

    Args:
        patients: ``(N,)`` patient of each row.
        fraction: share of the patients, in (0, 1].
    Raises ConfigError for a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"label fraction {fraction} is not above 0 and at most 1; try 0.1")
    known = patients.unique()  # sorted, so the order of rows does not matter
    rng = torch.Generator().manual_seed(stream_seed(seed, "label fraction"))
    order = known[torch.randperm(len(known), generator=rng)]
    taken = order[: max(1, round(fraction * len(known)))]
    return torch.isin(patients, taken).nonzero().flatten()

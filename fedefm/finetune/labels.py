"""What if only a few patients had been annotated?"""

from dataclasses import replace

import torch
from torch import Tensor

from fedefm.data.loading import training_rows
from fedefm.data.manifest import Manifest
from fedefm.errors import ConfigError
from fedefm.seeding import stream_seed

LARGEST_SEED = 2**63


def labeled_rows(patients: Tensor, fraction: float, seed: int) -> Tensor:
    """The rows of a seeded share of the patients, ``(M,)`` int64 in ascending order.

    Whole patients are taken, at least one. For one seed the subsets are nested: the patients of 5 %
    are among those of 10 %, so a curve over fractions compares more labels, not other labels.

    Args:
        patients: ``(N,)`` patient of each row.
        fraction: share of the patients, in (0, 1].
    Raises ConfigError for a fraction outside (0, 1].
    """
    _check(fraction)
    known = patients.unique()  # sorted, so the order of rows does not matter
    rng = torch.Generator().manual_seed(stream_seed(seed, "label fraction"))
    order = known[torch.randperm(len(known), generator=rng)]
    taken = order[: max(1, round(fraction * len(known)))]
    return torch.isin(patients, taken).nonzero().flatten()


def labeled_manifest(manifest: Manifest, fraction: float, seed: int) -> Manifest:
    """The manifest with about a share of its training patients, each drawn by itself.

    For private training: whether a patient is taken depends on nobody else, so that one patient
    more or less changes nothing for the others, and what is promised to each holds. For one seed
    the subsets are nested. Raises ConfigError for a fraction outside (0, 1].
    """
    _check(fraction)
    training = set(training_rows(manifest))

    def is_kept(position: int) -> bool:
        patient = manifest.rows[position].patient_id
        drawn = stream_seed(seed, "label fraction", patient) / LARGEST_SEED
        return position not in training or drawn < fraction

    rows = (row for position, row in enumerate(manifest.rows) if is_kept(position))
    return replace(manifest, rows=tuple(rows))


def _check(fraction: float) -> None:
    if not 0 < fraction <= 1:
        raise ConfigError(f"label fraction {fraction} is not above 0 and at most 1; try 0.1")

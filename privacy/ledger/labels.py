"""What a ledger's entries speak of: whose privacy was spent, by which run, up to which cap."""

from dataclasses import dataclass

from fedefm.config import Adjacency
from privacy.mechanism import Unit


@dataclass(frozen=True, order=True)
class Dataset:
    """The patients whose privacy is counted together.

    ``name`` is the site file's ``budget`` of a dataset, else the dataset's own name; ``unit`` is
    whether a step is private for a patient or for an image.
    """

    name: str
    unit: Unit


@dataclass(frozen=True, order=True)
class RunLabel:
    """Who spends.

    ``run_id`` is random and stays the same when the run is resumed; ``name`` is the run file's, and
    ``job`` is FLARE's job id, or empty.
    """

    run_id: str
    name: str
    job: str = ""


@dataclass(frozen=True)
class Budget:
    """How much a dataset may spend over all jobs; ``cap`` None: as much as is asked."""

    cap: float | None
    delta: float
    adjacency: Adjacency

"""Where a run file can run, and where its sites lie if nobody says."""

from enum import Enum
from pathlib import Path

SITES = Path("sites")


class Where(str, Enum):
    """Places where a run file can run."""

    process = "process"
    simulator = "simulator"
    prod = "prod"

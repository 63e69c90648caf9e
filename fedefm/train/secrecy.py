"""What hides a party's part of a sum, handed in by whoever knows the privacy packages.

The counterpart of ``fedefm.train.protection``: that one bounds what a model says of a patient, this
one keeps a site's model from everybody who is only to learn a sum of models.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedefm.config import RunConfig
from fedefm.train.exchange import Sum
from fedefm.train.message import Seal


@dataclass(frozen=True)
class Secrecy:
    """One party's secure sum, and the seal by which others know that its messages are its own."""

    sum: Sum
    seal: Seal


class Hide(Protocol):
    """Makes the secrecy of each party of a run: the sites, and the server.

    ``sites`` are all of the run. ``site_file`` is None for the server. ``tell`` gets a sentence for
    each trouble, which names who caused it. Raises PolicyRefused where the site's own file demands
    more than the run keeps.
    """

    def __call__(
        self,
        party: str,
        site_file: Path | None,
        run: RunConfig,
        sites: tuple[str, ...],
        run_id: str,
        tell: Callable[[str], None],
    ) -> Secrecy: ...

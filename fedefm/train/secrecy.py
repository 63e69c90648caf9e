"""What hides a party's part of a sum, handed in by whoever knows the privacy packages.

The counterpart of ``fedefm.train.protection``: that one bounds what a model says of a patient, this
one keeps a site's model from everybody who is only to learn a sum of models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fedefm.config import RunConfig
from fedefm.train.exchange import Sum
from fedefm.train.message import Seal

if TYPE_CHECKING:
    from fedefm.train.assemble import Plan


@dataclass(frozen=True)
class Secrecy:
    """One party's secure sum, and the seal by which others know that its messages are its own."""

    sum: Sum
    seal: Seal


class Hide(Protocol):
    """Makes the secrecy of each party of a run: the sites, and the server.

    ``check`` comes first, before an image is decoded, and raises PolicyRefused where the planned
    sums would not hide everybody as the site files demand, or ConfigError where they cannot be
    taken. In the call itself, ``sites`` are all of the run, ``site_file`` is None for the server,
    and ``tell`` gets a sentence for each trouble, which names who caused it.
    """

    def check(self, site_files: Mapping[str, Path], run: RunConfig, plan: "Plan") -> None: ...

    def __call__(
        self,
        party: str,
        site_file: Path | None,
        run: RunConfig,
        sites: tuple[str, ...],
        run_id: str,
        tell: Callable[[str], None],
    ) -> Secrecy: ...

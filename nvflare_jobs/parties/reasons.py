"""Why a site failed, as others may read it. What they may not read stays in the site's own log."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from fedefm.config import read_site
from fedefm.errors import BudgetExhausted, DataError, FedEFMError, PrivacyError, SiteFileError

LONGEST = 4000  # characters of a sentence; a list of findings is some hundred
A_PLACE = re.compile(  # on a disk: from its root, from home, or from another folder on
    r"(?<![\w.])/|\b[A-Za-z]:\\|\\\\|(?<!\w)~\w*/|(?<!\w)\.\.?[/\\]"
)
DATA = (
    "the site cannot use its images or manifest as they are; its owner sees why in the site's own "
    "log, or with `fedefm provision preflight` in the site's kit"
)
SITE_FILE = (
    "the site's own file, fedefm_site.yaml, cannot be used as it is; its owner sees why in the "
    "site's own log, or with `fedefm provision preflight` in the site's kit"
)
PLACE = "the reason names a place on the site's disk, so it stays in the site's own log"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Discretion:
    """What a site tells of its own errors; as it is made, the least.

    Args:
        everything: all sites are folders of one machine, and whoever reads can read the files.
        budget: what the ledger holds and the cap leaves.
        files: named without their folders; what names any other place is not told.
    """

    everything: bool = False
    budget: bool = False
    files: tuple[Path, ...] = ()


LEAST, ALL = Discretion(), Discretion(everything=True)


def discretion_of(site_file: Path, simulated: bool) -> Discretion:
    """By the site's own file; where that cannot be read, no budget is told."""
    if simulated:
        return ALL
    try:
        settings = read_site(site_file)
    except Exception:  # in doubt little is told
        return Discretion(files=(site_file,))
    named = (settings.ledger, settings.ledger_witness)
    files = (site_file, *(site_file.parent / name for name in named if name))
    return Discretion(budget="budget" in settings.policy.allowed_metrics, files=files)


def tell_reason(error: Exception, discretion: Discretion = LEAST) -> str:
    """Why a site failed, as others may read it: without patients, rows, and places on its disk.

    What others than we throw may hold anything. What is not told as it is goes to the log.
    """
    kind = type(error).__name__
    if not isinstance(error, FedEFMError):
        logger.error("unexpected error", exc_info=error)
        return f"{kind}, see the site's own log"
    told = str(error) if discretion.everything else _for_others(error, discretion)
    if told != str(error):
        logger.warning("told to others in other words: %s: %s", kind, error)
    return f"{kind}: {told}"[:LONGEST]


def _for_others(error: FedEFMError, discretion: Discretion) -> str:
    if isinstance(error, DataError):  # of rows and images, also where it names no file
        return DATA
    if isinstance(error, SiteFileError):  # it quotes the cap, and how many patients there are
        return SITE_FILE
    if isinstance(error, BudgetExhausted) and discretion.budget:
        return without_places(str(error), discretion)
    told = error.for_others if isinstance(error, PrivacyError) else str(error)
    return without_places(told, discretion)


def without_places(sentence: str, discretion: Discretion) -> str:
    """``sentence``, or where it names a place on the site's disk, that it does."""
    if discretion.everything:
        return sentence
    for path in discretion.files:
        for written in (path, path.absolute()):
            sentence = sentence.replace(str(written), path.name)
    return PLACE if A_PLACE.search(sentence) else sentence

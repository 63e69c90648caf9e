"""Why a site failed, as others may read it."""

import logging

from fedefm.errors import FedEFMError

LONGEST = 4000  # characters of a sentence; a list of findings is some hundred
logger = logging.getLogger(__name__)


def tell_reason(error: Exception) -> str:
    """Why a site failed, as others may read it.

    Our own errors are written for a reader and carry no patient identifier. What others throw may
    hold anything, so it stays in the site's log.
    """
    if isinstance(error, FedEFMError):
        return f"{type(error).__name__}: {error}"[:LONGEST]
    logger.error("unexpected error", exc_info=error)
    return f"{type(error).__name__}, see the site's own log"

"""What FLARE says to a person when it refuses, as a sentence with the way out; its words are kept.

Whoever looks for a phrase of FLARE's in its own documents or threads must find it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from nvflare.fuel.flare_api import api_spec as flare

from fedefm.errors import ConfigError, FedEFMError, PolicyRefused, ProtocolError


class ServerGone(ProtocolError):
    """The server does not answer, or knows this session no longer; a new one may work."""


class NotRunning(ProtocolError):
    """The job is not running now, or cannot be asked yet; it may be over."""


@contextmanager
def in_our_words(who: str, doing: str, server: str = "the server") -> Iterator[None]:
    """Raises a FedEFMError for whatever FLARE raises while ``who`` is ``doing`` something."""
    try:
        yield
    except FedEFMError:
        raise
    except Exception as error:  # FLARE raises its own, RuntimeError and what its parts raise
        raise sentence_of(error, who, doing, server) from error


def sentence_of(error: Exception, who: str, doing: str, server: str = "the server") -> FedEFMError:
    """The error that tells a person what FLARE's means."""
    said = f"FLARE says: {' '.join(str(error).split()) or type(error).__name__}"
    if isinstance(error, flare.AuthorizationError):
        return PolicyRefused(
            f"{who} may not be {doing}: the role in the kit does not have this right; ask whoever "
            f"runs the server, or use the kit of a lead ({said})"
        )
    if isinstance(error, flare.AuthenticationError):
        return PolicyRefused(
            f"the server does not accept {who}'s kit: it is of another project, or its "
            f"certificate has run out; get a new kit ({said})"
        )
    if isinstance(error, flare.NoConnection | flare.SessionClosed | flare.SessionExpired):
        return ServerGone(unreachable(server, said))
    if isinstance(error, flare.NoReply):
        return NotRunning(f"the job's own process does not answer; try again later ({said})")
    if isinstance(error, flare.JobNotFound):
        return ConfigError(
            f"the server knows no such job; `fedefm job status` lists those it knows ({said})"
        )
    if isinstance(error, flare.JobNotDone):
        return ProtocolError(
            "the job is not over, so there is no result yet; follow it with `fedefm job watch` "
            f"({said})"
        )
    if isinstance(error, flare.JobNotRunning):
        return NotRunning(f"the job is not running ({said})")
    if isinstance(error, flare.InvalidJobDefinition):
        return ConfigError(f"the server does not take the job ({said})")
    return ProtocolError(f"{doing} failed ({said})")


def unreachable(server: str, why: str) -> str:
    """That the server does not answer, and what to do."""
    return (
        f"{server} cannot be reached; check that it runs, and that outgoing TCP to it is open "
        f"from here ({why})"
    )

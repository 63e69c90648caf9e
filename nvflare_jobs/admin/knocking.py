"""Whether anybody listens where the server should be, asked before FLARE asks for half a minute."""

import os
import socket

from nvflare_jobs.admin.flare_words import ServerGone, unreachable
from nvflare_jobs.admin.person_kit import PersonKit
from provisioning.reach import PROXIES

KNOCK_S = 5.0


def knock(kit: PersonKit, patience_s: float = KNOCK_S) -> None:
    """Raises ServerGone, naming the address, where no connection to the kit's server is possible.

    Behind a proxy only FLARE itself can tell, and where the kit names no address.
    """
    if not kit.host or any(os.environ.get(name) for name in PROXIES):
        return
    try:
        socket.create_connection((kit.host, kit.port), patience_s).close()
    except TimeoutError:
        why = f"no answer within {patience_s:g} s"
        raise ServerGone(unreachable(kit.server, why)) from None
    except OSError as error:
        raise ServerGone(unreachable(kit.server, error.strerror or str(error))) from None

"""Holds FLARE's own encryption to the certificates that the site's file pins.

FLARE 2.9 asks each peer for its certificate over the relay, and takes any in the peer's name that
the project's root issued. Here it passes the site's pins first, in the one place where FLARE keeps
it, so that nothing is encrypted to, or decrypted from, somebody else with the root's help.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.fuel.f3.cellnet.credential_manager import CERT_ERROR
from nvflare.fuel.f3.cellnet.fqcn import FQCN

from fedefm.errors import MessageRejected, PolicyRefused
from nvflare_jobs.parties import places
from nvflare_jobs.parties.pinned import pins_of
from privacy.pins import Pins, fingerprint_of

KEEP, KEPT, ASKED = "_cache_cert", "cert_cache", "process_request"  # of its credential manager


def hold_to_pins(fl_ctx: FLContext) -> Mapping[str, str]:
    """Let FLARE keep pinned certificates only, where the site pins any. Do it before all messages.

    Gives why a party's certificate was not taken, by its name, as it turns out from then on.
    Raises PolicyRefused where FLARE has kept another one already, or cannot be held to it.
    """
    workspace, site = fl_ctx.get_workspace(), fl_ctx.get_identity_name()
    kit = Path(workspace.get_root_dir())
    if places.simulated() or not (peers := pins_of(site, kit / places.LOCAL)):
        return {}
    refused: dict[str, str] = {}
    pins = Pins({**peers, site: fingerprint_of(kit)})
    try:
        manager = fl_ctx.get_engine().get_cell().core_cell.credential_manager
        keep, asked = getattr(manager, KEEP), getattr(manager, ASKED)
        kept = dict(getattr(manager, KEPT))
    except AttributeError as error:
        raise PolicyRefused(
            f"site {site!r} pins the certificates of its peers, and this version of FLARE cannot "
            f"be held to them ({error}); use FLARE 2.9"
        ) from None
    setattr(manager, KEEP, _pinned(keep, pins, refused))
    setattr(manager, ASKED, _refusing(asked))
    try:
        _check_all(kept, pins)
    except MessageRejected as error:
        raise PolicyRefused(f"FLARE took the certificate of another before: {error}") from None
    return refused


def _pinned(
    keep: Callable[[str, bytes], Any], pins: Pins, refused: dict[str, str]
) -> Callable[[str, bytes], Any]:
    def keep_pinned(cell: str, certificate: bytes) -> Any:
        """Raises MessageRejected: FLARE encrypts nothing to this cell, and hears nothing of it."""
        party = FQCN.split(cell)[0]
        try:
            pins.check(party, certificate)
        except MessageRejected as error:
            refused[party] = str(error)
            raise
        return keep(cell, certificate)

    return keep_pinned


def _refusing(asked: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def answer(request: Any) -> Any:
        """A peer that is refused hears why; an exception would close the way to all others."""
        try:
            return asked(request)
        except MessageRejected as error:
            return {CERT_ERROR: str(error)}

    return answer


def _check_all(kept: Mapping[str, bytes], pins: Pins) -> None:
    for cell, certificate in kept.items():
        pins.check(FQCN.split(cell)[0], certificate)

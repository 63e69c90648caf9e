"""The receiver's side of one secure sum: it relays what members say, and opens the sum at the end.

It checks all that passes so that one member's lie costs that member its place and not the others
their sum. No member relies on these checks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedefm.errors import MessageRejected, SumAborted
from privacy.project_root import ProjectRoot
from privacy.secagg.context import Context
from privacy.secagg.dealing import digest_of
from privacy.secagg.masks import add_streams, add_vector
from privacy.secagg.passing_on import dealt_to, read_dealt
from privacy.secagg.payload import bytes_of, hex_by_name, read
from privacy.secagg.plan import check_plan, what
from privacy.secagg.ring import Ring
from privacy.secagg.roster import Roster, read_advert
from privacy.secagg.star import Desk
from privacy.secagg.steps import Packet, Protocol, canonical
from privacy.secagg.transcript import Transcript, read_consent
from privacy.secagg.unmasking import Opening, read_released


@dataclass(frozen=True)
class Opened:
    """A sum and, sorted, whose parts are in it."""

    total: NDArray[np.float32]
    members: tuple[str, ...]


def receiver(
    context: Context, ring: Ring, length: int, root: ProjectRoot, tell: Callable[[str], None]
) -> Protocol[Opened]:
    """Learn the sum of the members' vectors of ``length`` values.

    The result is exactly the sum of those in ``Opened.members``, each rounded to the ring. Whoever
    is silent, late or not understood is left out; ``tell`` hears one sentence about it.

    Raises:
        ProtocolError, PolicyRefused: a plan that cannot be; nothing was sent.
        SumAborted: too few members were left, one dealt wrong shares, or the sum is more than parts
            within the bound can give.
    """
    check_plan(context, ring)
    desk = Desk(context, tell)
    try:
        return (yield from _open(desk, context, ring, length, root, tell))
    except SumAborted as error:
        ended = f"{what(context)} ended in phase {desk.phase!r}: {error}"
        yield from desk.dismiss(str(error))
        raise SumAborted(ended) from None


def _open(
    desk: Desk,
    context: Context,
    ring: Ring,
    length: int,
    root: ProjectRoot,
    tell: Callable[[str], None],
) -> Protocol[Opened]:
    roster = yield from _meet(desk, context, root)
    dealt = yield from desk.collect(
        lambda sender, packet: read_dealt(packet.payload, sender, roster, root)
    )
    yield from desk.hand_out(lambda name: dealt_to(name, dealt))
    dealings = {owner: dealt[owner].dealing for owner in dealt}
    seen, total = digest_of(dealings), np.zeros(length, np.uint32)
    summed = yield from desk.collect(
        lambda sender, packet: _add(packet, seen, ring, total), length * ring.bytes_per_value
    )
    transcript = Transcript(roster, dealings, tuple(sorted(summed)))
    yield from _agree(desk, transcript, root)
    opening = Opening(transcript, tell)
    released = yield from desk.collect(
        lambda sender, packet: read_released(packet.payload, transcript)
    )
    for holder in sorted(released):
        opening.add(holder, released[holder])
    add_streams(total, *opening.masks())
    _require_reachable(ring, total, len(transcript.summed))
    return Opened(ring.decode(total), transcript.summed)


def _meet(desk: Desk, context: Context, root: ProjectRoot) -> Protocol[Roster]:
    """Phases 0 and 1."""
    adverts = yield from desk.collect(
        lambda sender, packet: read_advert(packet.payload, sender, context, root)
    )
    roster = Roster(context, adverts)
    payload = canonical({"adverts": roster.to_json()})
    yield from desk.hand_out(lambda name: payload)
    return roster


def _agree(desk: Desk, transcript: Transcript, root: ProjectRoot) -> Protocol[None]:
    """Phases 5 to 7."""
    members = canonical({"members": list(transcript.summed)})
    yield from desk.hand_out(lambda name: members)
    signatures = yield from desk.collect(
        lambda sender, packet: read_consent(packet.payload, sender, transcript, root)
    )
    consents = canonical({"signatures": hex_by_name(signatures)})
    yield from desk.hand_out(lambda name: consents)


def _add(packet: Packet, seen: bytes, ring: Ring, total: NDArray[np.uint32]) -> bool:
    """Phase 4: one masked vector, into the sum as it arrives.

    Its masks are those against all that dealt in its member's eyes; were these others than ours,
    the masks would not cancel and the sum would be wrong.
    """
    if bytes_of(read(packet.payload, ["dealings"])["dealings"], "dealings") != seen:
        raise MessageRejected("it was shown other dealings than those that were sent to it")
    vector, wanted = packet.vector, len(total) * ring.bytes_per_value
    if vector is None or vector.dtype != np.uint8 or vector.shape != (wanted,):
        raise MessageRejected(f"its masked vector does not have {wanted} bytes")
    add_vector(total, vector, ring)
    return True


def _require_reachable(ring: Ring, total: NDArray[np.uint32], members: int) -> None:
    """A part far beyond the bound or masks that do not cancel; whose they are, nobody can see."""
    if ring.largest(total) > members * ring.reach:
        raise SumAborted(
            f"the sum is more than {members} members can give within the bound {ring.bound:g}: "
            "some member sent what no such part gives, or masked it falsely"
        )

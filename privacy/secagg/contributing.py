"""The nine phases of a member, after Bonawitz et al., CCS 2017, section 4, with signatures.

Nothing that the receiver says is taken on trust: keys, dealings and consents carry the signatures
of those who made them, and no share is released unless enough members have signed the very
transcript that this member has seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedefm.errors import MessageRejected, PolicyRefused, SumAborted
from privacy.identity import Identity
from privacy.project_root import ProjectRoot
from privacy.secagg.advert import make_advert
from privacy.secagg.context import Context
from privacy.secagg.dealing import digest_of
from privacy.secagg.keys import pair_mask_key, self_mask_key
from privacy.secagg.masks import mask_input
from privacy.secagg.memory import Memory
from privacy.secagg.passing_on import Dealings, Dealt, read_dealings
from privacy.secagg.plan import require_enough
from privacy.secagg.ring import Ring
from privacy.secagg.roster import Roster, read_roster
from privacy.secagg.sealing import deal, hold
from privacy.secagg.session_secrets import SessionSecrets
from privacy.secagg.star import Seat
from privacy.secagg.steps import Packet, Protocol, Result, canonical
from privacy.secagg.transcript import Transcript, read_consents, read_members
from privacy.secagg.unmasking import release


@dataclass(frozen=True)
class Contribution:
    """That our part may be in the sum over ``members``, and which attempt it was."""

    members: frozenset[str]
    attempt: int


@dataclass(frozen=True)
class Side:
    """What a member needs throughout its session."""

    context: Context
    ring: Ring
    identity: Identity
    root: ProjectRoot
    memory: Memory
    min_cohort: int
    tell: Callable[[str], None]

    def contribute(
        self, x: NDArray[np.float32], secrets: SessionSecrets, seat: Seat
    ) -> Protocol[Contribution]:
        roster = yield from self._meet(secrets, seat)
        dealings = yield from self._deal(secrets, roster, seat)
        yield from self._mask(x, secrets, roster, dealings, seat)
        transcript = yield from self._agree(x, roster, dealings, seat)
        yield from seat.send(Packet(release(secrets.held, transcript)))
        attempt = roster.adverts[self.identity.name].attempt
        return Contribution(frozenset(transcript.summed), attempt)

    def _meet(self, secrets: SessionSecrets, seat: Seat) -> Protocol[Roster]:
        """Phases 0 and 1: advertise our keys, and learn whose others there are."""
        attempt = self.memory.next_attempt(self.context.key)
        own = make_advert(self.identity, self.context, attempt, secrets.keys)
        yield from seat.send(Packet(canonical(own.to_json())))
        roster = yield from seat.listen(
            lambda payload: read_roster(payload, own, self.context, self.root)
        )
        require_enough(self.context, roster.members, self.min_cohort)
        return roster

    def _deal(self, secrets: SessionSecrets, roster: Roster, seat: Seat) -> Protocol[Dealings]:
        """Phases 2 and 3: deal shares of our secrets, and hold those that others deal."""
        own, sealed = _accepting(lambda: deal(secrets, roster, self.identity))
        yield from seat.send(Packet(Dealt(own, sealed).payload()))
        dealings, sealed_here = yield from seat.listen(
            lambda payload: read_dealings(payload, own, roster, self.root)
        )
        # Each of them signed a dealing over our own fresh keys: from here on, nobody is counted as
        # company by an advert of an earlier attempt, whose keys may be known by now.
        require_enough(self.context, dealings, self.min_cohort)
        for owner, box in sealed_here.items():
            try:
                hold(dealings[owner], box, secrets, roster, own.owner)
            except MessageRejected as error:
                self.tell(f"{owner} in phase 'deal', or {self.context.receiver}: {error}")
        return dealings

    def _mask(
        self,
        x: NDArray[np.float32],
        secrets: SessionSecrets,
        roster: Roster,
        dealings: Dealings,
        seat: Seat,
    ) -> Protocol[None]:
        """Phase 4: our vector, masked; before it leaves, the attempt is used up for good."""
        self.memory.claim(self.context.key, roster.adverts[self.identity.name].attempt)
        plus, minus = _accepting(lambda: _mask_keys(self.identity.name, secrets, roster, dealings))
        masked = self.ring.pack(mask_input(x, self.ring, plus, minus, secrets.rounding_key))
        yield from seat.send(Packet(canonical({"dealings": digest_of(dealings).hex()}), masked))

    def _agree(
        self, x: NDArray[np.float32], roster: Roster, dealings: Dealings, seat: Seat
    ) -> Protocol[Transcript]:
        """Phases 5 to 7: consent to the sum over those who remain; see that enough others do."""
        transcript = yield from seat.listen(
            lambda payload: read_members(payload, self.identity.name, roster, dealings)
        )
        require_enough(self.context, transcript.summed, self.min_cohort)
        try:  # from our consent on, the sum may come to be opened
            self._note(x, transcript)
        except PolicyRefused as error:
            raise SumAborted(str(error)) from None
        yield from seat.send(Packet(transcript.sign(self.identity)))
        signatures = yield from seat.listen(lambda payload: read_consents(payload, transcript))
        self._require_consents(signatures, transcript)
        return transcript

    def _note(self, x: NDArray[np.float32], transcript: Transcript) -> None:
        self.memory.open(
            self.context.key,
            self.memory.fingerprint(x),
            self.context.receiver,
            transcript.summed,
            self.min_cohort,
        )

    def _require_consents(self, signatures: dict[str, bytes], transcript: Transcript) -> None:
        agreeing = {self.identity.name}
        for name, signature in signatures.items():
            try:
                transcript.check(name, signature, self.root)
                agreeing.add(name)
            except MessageRejected as error:
                self.tell(f"{name} in phase 'consents', or {self.context.receiver}: {error}")
        if len(agreeing) < self.context.threshold:
            raise SumAborted(
                f"{len(agreeing)} members signed what was seen here, and it takes "
                f"{self.context.threshold}: the others were shown another sum, or have left"
            )


def _mask_keys(
    own: str, secrets: SessionSecrets, roster: Roster, dealings: Dealings
) -> tuple[list[bytes], list[bytes]]:
    """Keys of the streams to add and to take off: the self mask, and one for each other in U2."""
    plus = [self_mask_key(secrets.seed, roster.session)]
    minus: list[bytes] = []
    for other in sorted(set(dealings) - {own}):
        public = roster.adverts[other].mask_key
        key = pair_mask_key(secrets.keys.mask_private, public, roster.session, own, other)
        (plus if own < other else minus).append(key)
    return plus, minus


def _accepting(step: Callable[[], Result]) -> Result:
    """A key that gives no secret ends the sum, as the roster that it stands in cannot change."""
    try:
        return step()
    except MessageRejected as error:
        raise SumAborted(str(error)) from None

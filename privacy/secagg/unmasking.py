"""What members release so that a sum can be opened, and what the receiver makes of it.

Of a member whose vector arrived the seed of its self mask, of one whose did not the private key of
its pairwise masks (Bonawitz et al., section 4.5). A member never tells of anybody both: what it
releases follows from the transcript that it signed, and there is no request to answer.
"""

from collections.abc import Callable, Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedefm.errors import MessageRejected, ProtocolError, SumAborted
from privacy.secagg import shares
from privacy.secagg.keys import pair_mask_key, self_mask_key
from privacy.secagg.payload import bytes_by_name, hex_by_name, read
from privacy.secagg.session_secrets import Pair
from privacy.secagg.shares import SHARE_BYTES, Share
from privacy.secagg.steps import canonical
from privacy.secagg.transcript import Transcript

Released = Mapping[str, bytes]  # shares of one holder, by owner: of seeds in U3, of keys elsewhere


def release(held: Mapping[str, Pair], transcript: Transcript) -> bytes:
    """The payload of ``unmask``, out of the shares that a member holds."""
    seeds = {name: held[name][0].value for name in transcript.summed if name in held}
    keys = {name: held[name][1].value for name in transcript.dropped if name in held}
    return canonical({"seed": hex_by_name(seeds), "key": hex_by_name(keys)})


def read_released(payload: bytes, transcript: Transcript) -> Released:
    """The shares in ``release``, not yet checked. Raises MessageRejected."""
    content = read(payload, ["seed", "key"])
    seeds = bytes_by_name(content["seed"], "a seed's share", transcript.summed, SHARE_BYTES)
    keys = bytes_by_name(content["key"], "a key's share", transcript.dropped, SHARE_BYTES)
    return {**seeds, **keys}


class Opening:
    """Collects released shares by owner, and takes the masks off once there are enough."""

    def __init__(self, transcript: Transcript, tell: Callable[[str], None]) -> None:
        self._transcript, self._tell = transcript, tell
        self._shares: dict[str, list[Share]] = {owner: [] for owner in transcript.dealt}

    def add(self, holder: str, released: Released) -> None:
        """Keep the shares that fit their commitments; of any other ``tell`` hears its holder."""
        index = self._transcript.roster.index(holder)
        for owner in sorted(released):
            share = Share(index, released[owner])
            if self._fits(owner, holder, share):
                self._shares[owner].append(share)
            else:
                self._tell(f"{holder} in phase 'unmask': its share of {owner} is wrong; unused")

    def masks(self) -> tuple[list[bytes], list[bytes]]:
        """Keys of the streams to add to the sum of U3 and to take off it, for no mask to be left.

        Raises SumAborted, naming the member of whom too few shares, or wrong ones, are there.
        """
        plus: list[bytes] = []
        minus = [self._self_mask(owner) for owner in self._transcript.summed]
        for dropped in self._transcript.dropped:
            private = self._mask_private(dropped)
            for member in self._transcript.summed:
                (minus if member < dropped else plus).append(self._pair(private, dropped, member))
        return plus, minus

    def _fits(self, owner: str, holder: str, share: Share) -> bool:
        dealing, roster = self._transcript.dealings[owner], self._transcript.roster
        if owner in self._transcript.summed:
            return dealing.fits_seed(roster, holder, share)
        return dealing.fits_key(roster, holder, share)

    def _self_mask(self, owner: str) -> bytes:
        seed, session = self._combined(owner), self._transcript.roster.session
        committed = self._transcript.dealings[owner].seed_commitment
        if shares.seed_commitment(session, owner, seed) != committed:
            raise _wrongly_dealt(owner)
        return self_mask_key(seed, session)

    def _mask_private(self, owner: str) -> bytes:
        private = self._combined(owner)
        public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        if public != self._transcript.roster.adverts[owner].mask_key:
            raise _wrongly_dealt(owner)
        return private

    def _pair(self, private: bytes, dropped: str, member: str) -> bytes:
        roster = self._transcript.roster
        try:
            public = roster.adverts[member].mask_key
            return pair_mask_key(private, public, roster.session, dropped, member)
        except MessageRejected as error:
            raise SumAborted(str(error)) from None

    def _combined(self, owner: str) -> bytes:
        threshold = self._transcript.roster.context.threshold
        found: Sequence[Share] = self._shares[owner][:threshold]
        if len(found) < threshold:
            raise SumAborted(
                f"{len(found)} good shares of {owner} were released, and opening takes {threshold}"
            )
        try:
            return shares.combine(found, threshold)
        except ProtocolError:
            raise _wrongly_dealt(owner) from None


def _wrongly_dealt(owner: str) -> SumAborted:
    return SumAborted(f"the shares that {owner} dealt are not of its own secret: it dealt wrongly")

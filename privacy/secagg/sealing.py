"""Shares of a member's two secrets, on their way to the holders past a receiver that reads all.

Bonawitz et al., section 4.3 (share keys): of the self mask's seed, which is opened where the
member's vector arrived, and of the mask's private key, which is opened where it did not.
"""

from dataclasses import replace

from fedefm.errors import MessageRejected
from privacy.identity import Identity
from privacy.secagg import shares
from privacy.secagg.dealing import Dealing
from privacy.secagg.keys import cipher_key
from privacy.secagg.roster import Roster
from privacy.secagg.session_secrets import Pair, SessionSecrets

SEALED_BYTES = 2 * shares.SHARE_BYTES + 16  # with the tag


def deal(
    secrets: SessionSecrets, roster: Roster, identity: Identity
) -> tuple[Dealing, dict[str, bytes]]:
    """Our dealing, signed, and what is sealed for each other member. Our own share we keep.

    Raises MessageRejected where a key of the roster gives no secret.
    """
    own = identity.name
    pairs = _split(secrets, roster)
    blank = Dealing(
        own,
        {to: shares.commitment(roster.session, own, to, *pairs[to]) for to in pairs},
        shares.seed_commitment(roster.session, own, secrets.seed),
    )
    secrets.held[own] = pairs.pop(own)
    sealed = {to: _seal(own, to, pairs[to], secrets, roster) for to in pairs}
    return replace(blank, signature=identity.sign(blank.to_sign(roster))), sealed


def hold(
    dealing: Dealing, sealed: bytes, secrets: SessionSecrets, roster: Roster, own: str
) -> None:
    """Keep the two shares that ``dealing.owner`` sealed for us. Raises MessageRejected."""
    owner = dealing.owner
    public = roster.adverts[owner].cipher_key
    key = cipher_key(secrets.keys.cipher_private, public, roster.session, owner, own)
    blob = shares.unseal(key, sealed, shares.sealing_place(roster.session, owner, own))
    seed_share, key_share = shares.part(blob, roster.index(own))
    fits = dealing.fits_seed(roster, own, seed_share) and dealing.fits_key(roster, own, key_share)
    if not fits:
        raise MessageRejected("a share does not fit the commitment to it")
    secrets.held[owner] = (seed_share, key_share)


def _split(secrets: SessionSecrets, roster: Roster) -> dict[str, Pair]:
    count, threshold = len(roster.members), roster.context.threshold
    of_seed = shares.split(secrets.seed, threshold, count)
    of_key = shares.split(secrets.keys.mask_private, threshold, count)
    return {to: (of_seed[i], of_key[i]) for i, to in enumerate(roster.members)}


def _seal(owner: str, to: str, pair: Pair, secrets: SessionSecrets, roster: Roster) -> bytes:
    public = roster.adverts[to].cipher_key
    key = cipher_key(secrets.keys.cipher_private, public, roster.session, owner, to)
    return shares.seal(key, shares.join(*pair), shares.sealing_place(roster.session, owner, to))

"""All that a member of a sum must tell nobody, in one place, so that it can be forgotten."""

import secrets
from dataclasses import dataclass, field

from privacy.secagg.keys import SessionKeys
from privacy.secagg.shares import Share

Pair = tuple[Share, Share]  # of an owner's seed, and of its mask's private key


@dataclass(repr=False)
class SessionSecrets:
    """The secrets of one attempt at one sum; for a second attempt they must be others.

    ``seed`` is that of the self mask, ``rounding_key`` decides which values are rounded up, and
    ``held`` are the shares that others dealt to us, by owner, and our own of our own secrets.
    """

    keys: SessionKeys
    seed: bytes
    rounding_key: bytes
    held: dict[str, Pair] = field(default_factory=dict)

    @classmethod
    def fresh(cls) -> "SessionSecrets":
        """From the operating system's generator."""
        return cls(SessionKeys.fresh(), secrets.token_bytes(32), secrets.token_bytes(32))

    def forget(self) -> None:
        """Let go of all of them. An error's traceback may keep this object, and then an empty one.

        Python cannot wipe memory; what it frees may stay there until it is used anew.
        """
        self.held = {}
        for name in ("keys", "seed", "rounding_key"):
            self.__dict__.pop(name, None)

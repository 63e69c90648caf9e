"""What must hold before the first packet of a sum, and of every set of members on the way."""

from collections.abc import Collection

from fedefm.errors import ConfigError, PolicyRefused, ProtocolError, SumAborted
from privacy.secagg.context import Context
from privacy.secagg.passing_on import deal_bytes
from privacy.secagg.payload import MOST_BYTES
from privacy.secagg.ring import Ring

PAYLOAD, VECTOR = "payload", "vector"  # the tensors of a packet
PHASES = (
    "advertise",
    "roster",
    "share",
    "deal",
    "masked",
    "members",
    "consent",
    "consents",
    "unmask",
)


def check_plan(context: Context, ring: Ring) -> None:
    """Raises PolicyRefused for a sum of one, and ProtocolError for a plan that contradicts itself.

    A sum of one is what that one gave, whatever the policy. Raises ConfigError for too many.
    """
    members, name = context.members, what(context)
    if len(members) < 2:
        raise PolicyRefused(
            f"{name} has {len(members)} members besides the receiver, and a sum of one hides "
            "nothing: plan two or more, or leave the receiver out"
        )
    if list(members) != sorted(set(members)) or context.receiver in members:
        raise ProtocolError(f"{name}: its members {members} are unsorted, or not all others")
    if dict(context.ring) != ring.describe() or ring.parties < len(members) + context.joins:
        raise ProtocolError(f"{name}: its ring {ring} is not that of the plan, or too small for it")
    check_size(members, name)
    if context.colluders < 0:
        raise ProtocolError(f"{name} cannot have {context.colluders} colluders")


def check_size(members: Collection[str], name: str) -> None:
    """Raises ConfigError where what is dealt among so many does not fit one message."""
    length = deal_bytes(members)
    if length > MOST_BYTES:
        raise ConfigError(
            f"{name} is over {len(members)} members, who deal each other shares of up to {length} "
            f"bytes in one message, and {MOST_BYTES} are allowed: take means over cohorts "
            "(federation.schedule 'grid'), or let fewer sites take part"
        )


def check_policy(context: Context, min_cohort: int) -> None:
    """Raises PolicyRefused where even with all members a member would be hidden by too few."""
    if others(context, context.members) < min_cohort:
        raise PolicyRefused(
            f"{what(context)} is over {len(context.members)} members, and the site's min_cohort "
            f"demands {min_cohort} others besides itself (the site's own, or what shared noise "
            "or colluding neighbors take): plan a larger cohort"
        )


def require_enough(context: Context, members: Collection[str], min_cohort: int = 0) -> None:
    """Raises SumAborted where too few are left to go on."""
    if len(members) < context.threshold:
        raise SumAborted(
            f"{len(members)} members are left ({', '.join(sorted(members)) or 'none'}), and "
            f"{context.threshold} of {len(context.members)} must help to open the sum"
        )
    if others(context, members) < min_cohort:
        raise SumAborted(
            f"only {sorted(members)} are left, and the site's min_cohort demands {min_cohort} "
            "others besides itself (the site's own, or what shared noise or colluding neighbors "
            "take)"
        )


def others(context: Context, members: Collection[str]) -> int:
    """Among how many others a member's part is hidden."""
    return len(members) - 1 + context.joins


def what(context: Context) -> str:
    """The sum, in words."""
    return f"the secure sum {context.what!r} of round {context.round} for {context.receiver}"

"""A member's side of one secure sum: what is checked before it begins, and how it ends.

What happens between is in ``contributing``; docs/secure-aggregation.md has the exact packets.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedefm.errors import PrivacyError, ProtocolError, SumAborted
from privacy.identity import Identity
from privacy.project_root import ProjectRoot
from privacy.secagg.context import Context
from privacy.secagg.contributing import Contribution, Side
from privacy.secagg.memory import Memory
from privacy.secagg.plan import check_plan, check_policy, what
from privacy.secagg.ring import Ring
from privacy.secagg.session_secrets import SessionSecrets
from privacy.secagg.star import Seat
from privacy.secagg.steps import Protocol

__all__ = ["Contribution", "member"]


def member(
    context: Context,
    ring: Ring,
    x: NDArray[np.float32],
    identity: Identity,
    root: ProjectRoot,
    memory: Memory,
    min_cohort: int,
    tell: Callable[[str], None],
    secrets: SessionSecrets | None = None,
) -> Protocol[Contribution]:
    """Give ``x``, a vector of float32, to the sum; the receiver learns the sum and no more.

    ``x`` must not change until the session ends. ``min_cohort`` others must be in the sum besides
    us, and ``tell`` hears one sentence about each trouble that does not end it. ``secrets`` are
    fresh ones unless a test brings its own.

    Raises:
        ProtocolError: ``x`` is not finite or beyond the ring's bound, or the plan contradicts
            itself. PolicyRefused: the planned cohort is too small. Nothing was sent then.
        SumAborted: this session ended without our part having been exposed.
        PrivacyError: the memory cannot be used, or has this attempt as used.
    """
    check_plan(context, ring)
    check_policy(context, min_cohort)
    if identity.name not in context.members:
        raise ProtocolError(f"{identity.name} is no member of {what(context)}")
    if x.dtype != np.float32 or x.ndim != 1:
        raise ProtocolError(f"a secure sum is over vectors of float32, not {x.dtype} {x.shape}")
    ring.check(x)
    seat = Seat(context.receiver)
    side = Side(context, ring, identity, root, memory, min_cohort, tell)
    secrets = SessionSecrets.fresh() if secrets is None else secrets
    try:
        return (yield from side.contribute(x, secrets, seat))
    except SumAborted as error:
        phase, reason = seat.phase, str(error)
    except PrivacyError:
        yield from seat.resign("its memory of secure sums does not let it go on")
        raise
    finally:
        secrets.forget()
    yield from seat.resign(reason)
    # A new error: the traceback of the first one keeps what its functions were working on.
    raise SumAborted(f"{what(context)} ended in phase {phase!r}: {reason}")

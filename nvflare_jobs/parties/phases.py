"""Which messages leave a site in a run with secure sums: packets of a sum, and few others.

Whatever stands in the clear must be a message that some update of this run hands on as it is. A
site's own part of a sum is none of these, under whatever name.
"""

import re

from fedefm.config import RunConfig
from fedefm.errors import PolicyRefused
from fedefm.train.header import LONGEST_BYTES
from fedefm.train.outline import Content, Outline
from fedefm.train.single_releases import single_releases
from privacy.secagg.plan import PAYLOAD, PHASES, VECTOR

MASKED = "masked"  # the only phase in which a vector travels
PACKET = re.compile(rf"[a-z]+/({'|'.join(PHASES)})")
MEAN, ECHO = "mean", "echo"  # of a cohort: handed out by who collected it, and its digest
DIGEST_BYTES = 32
BYTES = "U8"  # as an outline calls them
RELEASED = {"weights": "weights", "experts": "expert"}  # phases of single releases


def check_hidden(message: Outline, run: RunConfig) -> None:
    """Raises PolicyRefused where sums are to be secure and ``message`` is not part of one.

    It looks at phase, names, types and lengths. What the bytes of a packet mean is known to its
    receiver alone: the code that is installed at the site is trusted to have masked them.
    """
    if run.privacy.secagg is None:
        return
    phase = message.header.phase
    if PACKET.fullmatch(phase):
        _check_packet(message, phase.endswith(f"/{MASKED}"))
    elif phase == ECHO and phase in _in_the_clear(run):
        _check_echo(message)
    elif phase not in _in_the_clear(run):
        raise PolicyRefused(
            f"the message to {message.header.receiver!r} has phase {phase!r}, and this run hides "
            "what sites give in secure sums"
        )


def _in_the_clear(run: RunConfig) -> frozenset[str]:
    """The phases in which sites of this run send what no sum hides."""
    federation = run.federation
    means = federation.scenario == "decentralized" and (
        federation.algorithm == "gossip" or federation.update == "swap"
    )
    released = {RELEASED[kind] for kind in single_releases(run) if kind in RELEASED}
    return frozenset({MEAN, ECHO} if means else ()) | released


def _check_packet(message: Outline, masked: bool) -> None:
    wanted = {PAYLOAD, VECTOR} if masked else {PAYLOAD}
    names = set(message.tensors)
    plain = [n for n, t in message.tensors.items() if t.kind != BYTES or len(t.shape) != 1]
    if plain or PAYLOAD not in names or not names <= wanted:
        raise PolicyRefused(
            f"a packet of a secure sum ({message.header.phase}) holds {sorted(names)}, and its "
            f"form allows bytes as {sorted(wanted)} only"
        )
    if message.tensors[PAYLOAD].size > LONGEST_BYTES:
        raise PolicyRefused(f"a packet of a secure sum is longer than {LONGEST_BYTES} bytes")


def _check_echo(message: Outline) -> None:
    if list(message.tensors.values()) != [Content(BYTES, (DIGEST_BYTES,))]:
        raise PolicyRefused("a cohort's members tell each other one digest, and nothing else")

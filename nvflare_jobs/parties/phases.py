"""Which messages leave a site in a run with secure sums: packets of a sum, and few others.

Whatever stands in the clear must be a message that some update of this run hands on as it is. A
site's own part of a sum is none of these, under whatever name.
"""

import re

import torch

from fedefm.config import RunConfig
from fedefm.errors import PolicyRefused
from fedefm.train.message import LONGEST_BYTES, Message
from fedefm.train.single_releases import single_releases
from privacy.secagg.plan import PHASES
from privacy.secagg.sum import PAYLOAD, VECTOR

MASKED = "masked"  # the only phase in which a vector travels
PACKET = re.compile(rf"[a-z]+/({'|'.join(PHASES)})")
MEAN, ECHO = "mean", "echo"  # of a cohort: handed out by who collected it, and its digest
DIGEST_BYTES = 32
RELEASED = {"weights": "weights", "experts": "expert"}  # phases of single releases


def check_hidden(message: Message, run: RunConfig) -> None:
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


def _check_packet(message: Message, masked: bool) -> None:
    wanted = {PAYLOAD, VECTOR} if masked else {PAYLOAD}
    names = set(message.tensors)
    plain = [n for n, t in message.tensors.items() if t.dtype != torch.uint8 or t.ndim != 1]
    if plain or PAYLOAD not in names or not names <= wanted:
        raise PolicyRefused(
            f"a packet of a secure sum ({message.header.phase}) holds {sorted(names)}, and its "
            f"form allows bytes as {sorted(wanted)} only"
        )
    if message.tensors[PAYLOAD].nbytes > LONGEST_BYTES:
        raise PolicyRefused(f"a packet of a secure sum is longer than {LONGEST_BYTES} bytes")


def _check_echo(message: Message) -> None:
    sizes = [(t.dtype, tuple(t.shape)) for t in message.tensors.values()]
    if sizes != [(torch.uint8, (DIGEST_BYTES,))]:
        raise PolicyRefused("a cohort's members tell each other one digest, and nothing else")
